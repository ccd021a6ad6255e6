"""``make preset``: another study becomes the current one, and no edit of params.yaml is lost."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from kernel_files import HUNG

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


@pytest.fixture
def checkout(tmp_path):
    """What the target reads."""
    shutil.copy2(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    return tmp_path


def preset(checkout, study, code=0):
    """Take a study, and return what was said and the copies that there are."""
    # Without the variables through which a make that runs the tests would speak to this one.
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "preset", f"STUDY={study}"]
    process = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, timeout=HUNG)
    assert process.returncode == code, process.stderr
    return process.stdout + process.stderr, sorted(path.name for path in checkout.glob("params-*.yaml"))


def content(checkout, name="params.yaml"):
    return (checkout / name).read_bytes()


def test_a_study_of_config_is_replaced_without_a_copy(checkout):
    assert preset(checkout, "ci") == ("params.yaml is now config/ci.yaml\n", [])  # there was none
    assert preset(checkout, "review") == ("params.yaml is now config/review.yaml\n", [])
    assert preset(checkout, "review") == ("params.yaml is now config/review.yaml\n", [])
    assert content(checkout) == content(checkout, "config/review.yaml")


def test_an_edited_study_is_kept_beside(checkout):
    edits = [b"study: mine\n", b"study: mine, again\n", b"study: with spaces\n"]
    for edit in edits:  # within a second, as a rule
        (checkout / "params.yaml").write_bytes(edit)
        said, copies = preset(checkout, "ci")
        kept, _ = said.splitlines()
        assert content(checkout, kept.rpartition(" ")[2]) == edit
    assert len(copies) == 3
    assert all(re.fullmatch(r"params-\d{8}-\d{6}(-\d)?\.yaml", name) for name in copies)
    assert {content(checkout, name) for name in copies} == set(edits)
    assert content(checkout) == content(checkout, "config/ci.yaml")


def test_nothing_is_touched_where_there_is_no_such_study(checkout):
    (checkout / "params.yaml").write_bytes(b"study: mine\n")
    said, copies = preset(checkout, "reviev", code=2)
    assert "STUDY is 'reviev'" in said
    assert (copies, content(checkout)) == ([], b"study: mine\n")


def test_a_link_to_a_study_leaves_that_study_as_it_is(checkout):
    before = content(checkout, "config/ci.yaml")
    (checkout / "params.yaml").symlink_to("config/ci.yaml")
    preset(checkout, "review")
    assert content(checkout, "config/ci.yaml") == before
    assert content(checkout) == content(checkout, "config/review.yaml")
    # A study of one's own, by a link: its content is copied, and the file that the link leads to stays.
    (checkout / "mine.yaml").write_bytes(b"study: mine\n")
    (checkout / "params.yaml").unlink()
    (checkout / "params.yaml").symlink_to("mine.yaml")
    _, copies = preset(checkout, "ci")
    assert [content(checkout, name) for name in [*copies, "mine.yaml"]] == [b"study: mine\n"] * 2


def test_params_stay_where_no_copy_can_be_written(checkout):
    (checkout / "params.yaml").write_bytes(b"study: mine\n")
    failing = checkout / ".venv/bin/cp"  # where the Makefile looks first
    failing.parent.mkdir(parents=True)
    failing.write_text("#!/bin/sh\nexit 1\n")
    failing.chmod(0o755)
    said, _ = preset(checkout, "ci", code=2)
    assert "is now" not in said
    assert content(checkout) == b"study: mine\n"
