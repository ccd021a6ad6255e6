"""`exact-cntk data fetch` and `exact-cntk data prepare`."""

import pytest
from typer.testing import CliRunner

from exact_cntk.cli.data import app
from exact_cntk.data import load_processed
from exact_cntk.errors import InputError


def run(*arguments, error=None):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if error is not None:
        # The main program turns these into one line and exit code 2.
        assert isinstance(result.exception, error), result.output
        return str(result.exception)
    assert result.exit_code == 0, result.output
    return result.output


def test_prepare_says_what_it_wrote(tmp_path):
    out = tmp_path / "digits.h5"
    said = run("prepare", "digits", "--resolution", 8, "--train-images", 100, "--test-images", 50, "--out", out)
    digest = load_processed(out).digest[:12]
    assert said == f"{out}: Digits, 100 training and 50 test images of 8x8x1, 10 classes, digest {digest}\n"


def test_prepare_with_every_option(tmp_path, archive):
    out = tmp_path / "cifar2.h5"
    options = ["--source", archive, "--allow-unverified", "--resolution", 16, "--class", 3, "--class", 0]
    options += ["--selection", "stratified", "--seed", 5, "--train-images", 8, "--test-images", 2]
    said = run("prepare", "cifar10", *options, "--out", out)
    data = load_processed(out)
    assert "CIFAR-10 (unverified source, sha256 " in said
    assert data.train_images.shape == (8, 16, 16, 3)
    assert data.class_names == ("cat", "airplane")
    assert data.parameters["seed"] == 5


def test_errors_are_the_users(tmp_path):
    out = tmp_path / "study.h5"
    assert "resolution: 9 is not possible with Digits; allowed: 8" in run(
        "prepare", "digits", "--resolution", 9, "--out", out, error=InputError
    )
    assert not out.exists()


@pytest.mark.parametrize("verb", ["fetch", "prepare"])
def test_help_shows_the_options(verb):
    assert "--out" in run(verb, "--help")
