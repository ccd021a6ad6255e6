"""The command line: verbs do what the library does, errors are one line, and nothing heavy loads in vain."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from kernel_files import environment, make_blocks
from typer.testing import CliRunner

import exact_cntk
from exact_cntk.blocks import open_kernel, read_header, read_kernel
from exact_cntk.cli import VERBS, app
from exact_cntk.errors import UserError
from exact_cntk.networks import Family

ROOT = Path(__file__).parents[3]
GROUPS = ["data", "section"]
HEAVY = {"sklearn", "pandas", "matplotlib", "seaborn", "torch", "jinja2", "yaml", "jsonschema"}


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="exact-cntk")


def refusal(*arguments, code=2):
    """The one line that says why."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert line.startswith("exact-cntk: ")
    return line


def block_arguments(data_file, out, **changes):
    options = {
        "data": data_file,
        "family": "cntk-v",
        "readout": "flatten",
        "trained": "all",
        "filter-size": 3,
        "depths": "3,5",
        "kinds": "ntk,nngp",
        "rows": "9:18",
        "cols": "0:9",
        "backend": "reference",
        "dtype": "float32",
        "threads": 1,
        "out": out,
    } | changes
    return ["block", *(word for name, value in options.items() for word in (f"--{name}", value))]


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_one_sentence_an_example_and_units(verb):
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert result.output.splitlines()[2].endswith(".")
    assert ("Example:" in result.output) == (verb not in GROUPS)
    assert max(map(len, result.output.splitlines())) <= 100


@pytest.mark.parametrize("verb", ["run", "show", "provenance"])
def test_help_of_sections(verb):
    result = run("section", verb, "--help")
    assert result.exit_code == 0 and "Example:" in result.output
    assert max(map(len, result.output.splitlines())) <= 100


def test_jobs_of_a_section_are_listed():
    listed = run("section", "run", "small_data", "--params", ROOT / "config/ci.yaml")
    assert listed.stdout.split() == ["cntk-v-depth-04", "rbf", "logistic", "forest", "network-cnn-v"]
    assert run("section", "run", "accuracy", "--params", ROOT / "config/ci.yaml").stdout.split() == []


def test_a_job_is_what_the_parameters_say(tmp_path, data_file, data):
    """Its files go to the study's folder, and state the study; the line says what came of it."""
    params = yaml.safe_load((ROOT / "config/ci.yaml").read_text(encoding="utf-8"))
    params["prepare"] |= {"classes": [0, 1, 2], "train_images": 24, "test_images": 10}
    params["solve"] |= {"subsets": [{"train_images": 24, "repeats": 1}]}
    params["small_data"] |= {"train_images": [3, 6], "subsets": 2, "cnns": None}
    params |= dict.fromkeys(["cnns", "random_features", "architectures"])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    files = ["--params", tmp_path / "params.yaml", "--study-dir", tmp_path, "--data", data_file]
    done = run("section", "run", "small_data", "rbf", *files)
    assert done.exit_code == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{tmp_path}/small_data/rbf.json: 4 results, ")
    document = json.loads((tmp_path / "small_data/rbf.json").read_text(encoding="utf-8"))
    assert document["study"] == "ci" and document["parameters"]["bandwidths"] == [0.5, 1.0]
    assert [(one["train_images"], one["repeat"]) for one in document["results"]] == [(3, 0), (3, 1), (6, 0), (6, 1)]


def test_help_lists_verbs_in_the_order_of_a_study():
    lines = run("--help").output.splitlines()
    lines = lines[lines.index("Commands:") + 1 :]
    listed = [line.split()[0] for line in lines]
    assert listed == list(VERBS)
    assert not any(line.endswith("...") for line in lines)


def test_version():
    assert run("--version").output == f"exact-cntk {exact_cntk.__version__}\n"


def test_from_images_to_metrics(tmp_path, data_file, data):
    """With the workflow's own command lines."""
    blocks = []
    for rows, cols in [("0:12", "0:12"), ("12:24", "0:12"), ("12:24", "12:24"), ("24:34", "0:12"), ("24:34", "12:24")]:
        blocks.append(tmp_path / f"{rows.split(':')[0]}-{cols.split(':')[0]}.h5")
        done = run(*block_arguments(data_file, blocks[-1], rows=rows, cols=cols))
        assert done.exit_code == 0
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert f"rows {rows}, columns {cols}" in line and "element-layers/s" in line
    kernel = tmp_path / "kernel.h5"
    done = run("merge", "--depth", 5, "--out", kernel, "--max-memory-gib", 1, *blocks)
    assert done.exit_code == 0 and "34 x 24 from 5 blocks" in done.stderr
    (tmp_path / "list").write_text("\n".join(map(str, blocks)))
    again = tmp_path / "again.h5"
    assert run("merge", "--depth", 5, "--out", again, "--blocks", tmp_path / "list").exit_code == 0
    assert again.read_bytes() == kernel.read_bytes()

    metrics, provenance = tmp_path / "metrics.json", tmp_path / "provenance.json"
    options = ["--subset", "24x1", "--subset", "8x3", "--ridges", "0,1e-6,1e-2", "--max-memory-gib", 1]
    files = ["--kernel", kernel, "--data", data_file, "--out", metrics, "--provenance", provenance]
    done = run("solve", *files, *options)
    assert done.exit_code == 0 and len(done.stderr.splitlines()) == 1
    document = json.loads(metrics.read_text())
    assert (document["study"], document["depth"], len(document["results"])) == ("squares", 5, 8)
    assert json.loads(provenance.read_text())["backend"] == "reference"


def test_estimate(monkeypatch):
    monkeypatch.setattr("exact_cntk.study.estimate.measure_speed", lambda *_: 1e9)
    monkeypatch.setattr("exact_cntk.study.rates.Rates.seconds", lambda self, works: 60.0)
    monkeypatch.setattr("exact_cntk.kernels.cpu.instruction_set", lambda: "avx2")
    result = run("estimate", "--params", "config/ci.yaml")
    assert result.exit_code == 0
    assert "element-layers" in result.stdout


def test_block_of_local_pooling_flips_and_both_choices_of_trained_layers(tmp_path, data_file, data):
    changes = {"readout": "lap", "pooling-window": 3, "trained": "all,hidden"}
    done = run(*block_arguments(data_file, tmp_path / "b.h5", **changes), "--flips")
    assert done.exit_code == 0
    header, _ = read_header(tmp_path / "b.h5")
    assert header.network == Family("lap", ("all", "hidden"), pooling_window=3, flips=True)
    options = {"readout": "lap", "backend": header.backend}
    images = [data.train_images[slice(*span)] for span in header.position]
    others = None if header.position.diagonal else images[1]
    depth = header.depths[0]
    expected = exact_cntk.cntk(
        images[0], others, depths=depth, pooling_window=3, flips=True, trained=("hidden",), **options
    )
    found = read_kernel(tmp_path / "b.h5", "ntk", depth, "hidden")
    np.testing.assert_allclose(found, expected["ntk", depth, "hidden"], rtol=1e-6)


def test_a_complete_block_is_left(tmp_path, data_file, data):
    arguments = block_arguments(data_file, tmp_path / "b.h5")
    assert run(*arguments).exit_code == 0
    assert "already complete" in run(*arguments).stderr


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"depths": "3,x"}, "--depths is '3,x': 'x' is no whole number from 2 to 1000; separate several by commas"),
        ({"depths": "1_0"}, "'1_0' is no whole number"),
        ({"depths": "9" * 21}, "is no whole number from 2 to 1000"),
        ({"kinds": "ntk,gp"}, "kinds is 'gp'"),
        ({"kinds": ","}, "--kinds is ','; allowed is ntk, nngp or ntk,nngp, without empty parts"),
        ({"trained": "all,"}, "--trained is 'all,'; allowed is all, hidden or all,hidden, without empty parts"),
        ({"filter-size": "9" * 23}, "is no whole number from 1 to 1001"),
        ({"family": ""}, "Invalid value for '--family': '' is not allowed; give words of lower-case letters"),
        ({"family": "a\nb"}, "Invalid value for '--family'"),
        ({"family": "a\udcff"}, "Invalid value for '--family'"),
        ({"readout": "lap"}, "pooling_window is None with readout 'lap'"),
        ({"pooling-window": 3}, "pooling_window is 3 with readout 'flatten'"),
        ({"rows": "5"}, "--rows is '5'; allowed is START:STOP"),
        ({"rows": "0:9", "cols": "9:18"}, "above the diagonal"),
        ({"rows": "30:40"}, "leave the kernel matrix"),
        ({"backend": "cuda"}, "backend 'cuda' is not available"),
        ({"threads": 0}, "Invalid value for '--threads': '0' is no whole number from 1 to"),
        ({"threads": "two"}, "Invalid value for '--threads'"),
        ({"colour": "red"}, "No such option: --colour"),
    ],
)
def test_bad_block_options(tmp_path, data_file, data, monkeypatch, change, reason):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert reason in refusal(*block_arguments(data_file, tmp_path / "b.h5", **change))
    assert not (tmp_path / "b.h5").exists()


def test_usage_errors_point_to_the_help():
    assert refusal("block").endswith("Missing option '--data'. (see `exact-cntk block --help`)")
    assert "No such command 'blok'" in refusal("blok")
    assert "No such option: --verbose" in refusal("--verbose", "block")


def test_bad_merge_and_solve(tmp_path, data, data_file, full):
    blocks = make_blocks(tmp_path / "blocks", data, full)
    out = tmp_path / "kernel.h5"
    assert "no blocks to merge" in refusal("merge", "--depth", 3, "--out", out)
    assert run("merge", "--depth", 3, "--out", out, *blocks).exit_code == 0
    solve = ["solve", "--kernel", out, "--data", data_file, "--out", tmp_path / "m.json"]
    assert "subset is '24'" in refusal(*solve, "--subset", "24")
    assert "--ridges is '0;1'" in refusal(*solve, "--subset", "24x1", "--ridges", "0;1")
    assert not (tmp_path / "m.json").exists()


def test_a_message_of_many_lines_becomes_one(monkeypatch):
    def fail(*_, **__):
        raise UserError("first\n  second")

    monkeypatch.setattr("exact_cntk.study.estimate.estimate_study", fail)
    assert refusal("estimate") == "exact-cntk: error: first second"


def test_interrupt(monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("exact_cntk.study.estimate.estimate_study", interrupt)
    assert "interrupted" in refusal("estimate", code=130)


def test_bugs_keep_their_traceback(monkeypatch):
    def fail(*_, **__):
        raise KeyError("a bug")

    monkeypatch.setattr("exact_cntk.study.estimate.estimate_study", fail)
    assert isinstance(run("estimate").exception, KeyError)


def _loaded_after(code, *arguments):
    script = f"import sys; {code}; print(*sys.modules)"
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_help_loads_nothing_heavy():
    loaded = _loaded_after("from exact_cntk.cli import app; app(['--help'], standalone_mode=False)")
    assert "typer" in loaded and not loaded & (HEAVY | {"numpy", "scipy", "h5py"})


def test_a_block_job_loads_little(tmp_path, data_file, data):
    code = "from exact_cntk.cli import app; app(sys.argv[1:], standalone_mode=False)"
    loaded = _loaded_after(code, *block_arguments(data_file, tmp_path / "b.h5"))
    assert "h5py" in loaded and not loaded & (HEAVY | {"scipy"})
    header, _ = read_header(tmp_path / "b.h5")
    assert header.depths == (3, 5)


def test_killed_while_writing(tmp_path, data_file, data):
    """Nothing stands under the block's name; the next run computes it, and cleans up."""
    out = tmp_path / "blocks" / "9-0.h5"
    code = (
        "import os; from exact_cntk._support import atomic; from exact_cntk.cli import app; "
        "atomic._sync = lambda path: os.kill(os.getpid(), 9); app(sys.argv[1:])"
    )
    command = [sys.executable, "-c", f"import sys; {code}", *map(str, block_arguments(data_file, out))]
    assert subprocess.run(command, env=environment(), check=False).returncode == -9
    assert not out.exists() and len(list(out.parent.iterdir())) == 1
    assert run(*block_arguments(data_file, out)).exit_code == 0
    assert [path.name for path in out.parent.iterdir()] == ["9-0.h5"]


def test_kernels_in_float32_on_disk(tmp_path, data_file, data):
    """A block of another storage is computed again; blocks of both are not merged."""
    out = tmp_path / "b.h5"
    assert run(*block_arguments(data_file, out)).exit_code == 0
    (header, _), kernel = read_header(out), read_kernel(out, "ntk", 5)
    done = run(*block_arguments(data_file, out, storage="float32"))
    assert done.exit_code == 0 and "already complete" not in done.stderr
    assert read_header(out)[0] == replace(header, storage="float32")
    np.testing.assert_array_equal(read_kernel(out, "ntk", 5), kernel.astype(np.float32))
    assert "already complete" in run(*block_arguments(data_file, out, storage="float32")).stderr
    others = tmp_path / "c.h5", tmp_path / "d.h5"
    for path, rows in zip(others, ("24:30", "30:34"), strict=True):
        assert run(*block_arguments(data_file, path, rows=rows)).exit_code == 0
    said = refusal("merge", "--depth", 5, "--out", tmp_path / "k.h5", out, *others)
    assert f"block {out} does not belong to the others: its storage is 'float32' instead of 'float64'" in said


def test_merged_kernel_is_the_kernel(tmp_path, data_file, data):
    """Of the real recursion, from blocks of one size and from one block."""
    images = np.concatenate([data.train_images, data.test_images])
    expected = exact_cntk.cntk(images, data.train_images, depths=3, readout="flatten", backend="reference")["ntk", 3]
    blocks = []
    for rows, cols in [("0:24", "0:24"), ("24:34", "0:24")]:
        blocks.append(tmp_path / f"{rows[0]}.h5")
        assert run(*block_arguments(data_file, blocks[-1], rows=rows, cols=cols)).exit_code == 0
    assert run("merge", "--depth", 3, "--out", tmp_path / "k.h5", *blocks).exit_code == 0
    with open_kernel(tmp_path / "k.h5") as (_, matrices):
        np.testing.assert_allclose(matrices["ntk"][:], expected, rtol=1e-12)
