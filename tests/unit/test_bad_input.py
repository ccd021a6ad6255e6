"""The list of bad input: each kind provoked through the library or the command line, and what the error must name.

What every check refuses in detail is tested beside it. Here is one row for each way in that a user has: an error of
one line that names the culprit; from the command line also exit code 2, no traceback, and nothing left behind.
"""

import os
import pickle
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from kernel_files import edit, make_blocks
from typer.testing import CliRunner

import exact_cntk
from exact_cntk import CNTKClassifier, CNTKRegressor, cntk, kernel_regression, ntk
from exact_cntk.blocks import merge_blocks
from exact_cntk.cli import app
from exact_cntk.data._cifar10_versions import ARCHIVE, PYTHON
from exact_cntk.data._processed import ProcessedData, write_processed

ROOT = Path(__file__).parents[2]
IMAGES = np.random.default_rng(0).standard_normal((4, 3, 3, 1))
LABELS = [0, 1, 0, 1]
NAN = np.where(np.arange(4)[:, None, None, None] == 2, np.nan, IMAGES)
MASKED = np.ma.array(IMAGES, mask=np.isnan(NAN))
PLANES = np.ones((4, 3, 6, 6))
INDEFINITE = np.diag([1.0, 1.0, 1.0, -0.5])


def images_with(**changes: Any) -> dict[str, Any]:
    return {"x1": IMAGES, "depths": 3, "readout": "flatten", "backend": "reference"} | changes


# What is wrong; the call; what its message must say.
CALLS: list[tuple[str, Callable[[], object], str]] = [
    ("wrong rank", lambda: cntk(**images_with(x1=IMAGES[0])), r"x1 has shape \(3, 3, 1\); allowed are 4 dimensions"),
    ("wrong rank", lambda: cntk(**images_with(x2=IMAGES[0])), r"x2 has shape \(3, 3, 1\); allowed are 4 dimensions"),
    ("wrong rank", lambda: ntk(IMAGES, depth=3), r"x1 has shape \(4, 3, 3, 1\); allowed are 2 dimensions"),
    ("wrong rank", lambda: kernel_regression(LABELS, LABELS), r"K has shape \(4,\); allowed is \(n, n\)"),
    ("wrong rank", lambda: CNTKClassifier().fit(IMAGES[..., 0], LABELS), r"X has shape \(4, 3, 3\); allowed are"),
    ("channels first", lambda: cntk(**images_with(x1=PLANES)), r"x1\.transpose\(0, 2, 3, 1\)"),
    ("channels first", lambda: cntk(**images_with(x2=PLANES)), r"x2 has images of shape \(3, 6, 6\); allowed is x1's"),
    ("channels first", lambda: CNTKClassifier().fit(PLANES, LABELS), r"X\.transpose\(0, 2, 3, 1\)"),
    ("channels first", lambda: exact_cntk.finite.CNN((3, 6, 6), depth=3, width=2, readout="gap"), r"here \(6, 6, 3\)"),
    ("masked", lambda: cntk(**images_with(x1=[list(image) for image in MASKED])), r"x1\[2\]\[0\] has 3 masked entries"),
    ("masked", lambda: cntk(**images_with(x1=MASKED)), "x1 has 9 masked entries"),
    ("masked", lambda: ntk(MASKED[:, 0, :, 0], depth=3), "x1 has 3 masked entries"),
    ("masked", lambda: kernel_regression(np.ma.masked_equal(np.eye(4), 0), LABELS), "K has 12 masked entries"),
    ("masked", lambda: CNTKClassifier().fit(MASKED, LABELS), "X has 9 masked entries"),
    ("labels in a column", lambda: kernel_regression(np.eye(4), [[0], [1], [0], [1]]), r"pass np\.ravel\(y\)"),
    ("one-hot labels", lambda: kernel_regression(np.eye(4), 2 * np.eye(2, dtype=int)[LABELS] - 1), r"np\.argmax\(y"),
    ("one-hot labels", lambda: kernel_regression(np.eye(4), np.eye(2, dtype=int)[LABELS]), r"pass np\.argmax\(y"),
    (
        "missing labels",
        lambda: kernel_regression(np.eye(4), [*"aba", None]),
        "y has values of the types NoneType, str; .* none missing",
    ),
    ("missing labels", lambda: CNTKClassifier().fit(IMAGES, ["a", "b", None, "a"]), "types NoneType, str; .* missing"),
    ("too deep", lambda: cntk(**images_with(depths=10**8)), "depths is 100000000; allowed are integers from 2 to 1000"),
    ("even filter", lambda: cntk(**images_with(filter_size=4)), "filter_size is 4; allowed are odd"),
    ("even filter", lambda: CNTKClassifier(filter_size=4).fit(IMAGES, LABELS), "filter_size is 4; allowed are odd"),
    ("depth 1", lambda: cntk(**images_with(depths=1)), "depths is 1; allowed are integers ≥ 2"),
    ("depth 1", lambda: CNTKRegressor(depth=1).fit(IMAGES, LABELS), "depth is 1; allowed are integers ≥ 2"),
    ("NaN", lambda: cntk(**images_with(x1=NAN)), r"x1 must be finite, but x1\[2, 0, 0, 0\] is nan"),
    ("NaN", lambda: cntk(**images_with(x2=NAN)), r"x2 must be finite, but x2\[2, 0, 0, 0\] is nan"),
    ("NaN", lambda: ntk(NAN[:, 0, :, 0], depth=3), r"x1 must be finite, but x1\[2, 0\] is nan"),
    ("NaN", lambda: kernel_regression(np.diag([1, np.nan]), [0, 1]), r"K must be finite, but K\[1, 1\] is nan"),
    ("NaN", lambda: CNTKClassifier().fit(NAN, LABELS), "NaN"),
    ("unknown readout", lambda: cntk(**images_with(readout="flaten")), "readout is 'flaten'.*did you mean 'flatten'"),
    ("unknown readout", lambda: CNTKClassifier(readout="mean").fit(IMAGES, LABELS), "readout is 'mean'; allowed are"),
    ("negative eigenvalue", lambda: kernel_regression(INDEFINITE, LABELS), r"smallest eigenvalue is -0\.5,"),
]


@pytest.mark.parametrize(("call", "named"), [pytest.param(*row, id=what) for what, *row in CALLS])
def test_the_library_says_what_is_wrong(call, named):
    with pytest.raises(ValueError, match=named):
        call()


@dataclass
class Files:
    """The files of a tiny study, each made when a row asks for it, and a disk that is too small for any more."""

    folder: Path
    disk: Path
    data: ProcessedData
    data_file: Path
    full: np.ndarray

    def blocks(self) -> list[Path]:
        return make_blocks(self.folder / "blocks", self.data, self.full)

    @property
    def first_block(self) -> Path:
        return self.folder / "blocks" / "0-0.h5"

    def kernel(self, full: np.ndarray | None = None) -> Path:
        path = self.folder / "kernels" / "kernel.h5"
        merge_blocks(make_blocks(self.folder / "blocks", self.data, self.full if full is None else full), 3, path)
        return path

    def nan_images(self) -> Path:
        """A file of the right digest; `prepare` itself makes no NaN."""
        fields = {name: value for name, value in vars(self.data).items() if name != "digest"}
        fields["train_images"] = self.data.train_images.copy()
        fields["train_images"][5, 0, 0, 0] = np.nan
        path = self.folder / "nan.h5"
        write_processed(path, ProcessedData.with_digest(**fields))
        return path

    def metrics(self) -> Path:
        """Metrics of one kernel, in the folder of a study."""
        path = self.folder / "study" / "metrics" / "cntk-v-depth-03.json"
        done = run(*solve(self, out=path))
        assert done.exit_code == 0, done.stderr
        return path

    def drawn_study(self) -> Path:
        """The folder of a study with the section of its kernels."""
        study = self.metrics().parents[1]
        done = run("section", "show", "accuracy", "--study-dir", str(study))
        assert done.exit_code == 0, done.stderr
        return study

    def params(self) -> Path:
        """Parameters of a study whose section small_data looks at these files."""
        params = yaml.safe_load((ROOT / "config/ci.yaml").read_text(encoding="utf-8"))
        params["prepare"] |= {"train_images": 24, "test_images": 10}
        params["solve"] |= {"subsets": [{"train_images": 24, "repeats": 1}]}
        params["small_data"] |= {"train_images": [10], "subsets": 2, "cnns": None}
        params |= dict.fromkeys(["cnns", "random_features", "architectures"])
        path = self.folder / "params.yaml"
        path.write_text(yaml.safe_dump(params), encoding="utf-8")
        return path

    def archive(self) -> Path:
        path = self.folder / "cifar-10-python.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(self.cifar(), "cifar-10-batches-py")
        return path

    def cifar(self, content: object = "not the official one") -> Path:
        """A folder with the names of the official files, each a pickle of the content."""
        folder = self.folder / "cifar-10-batches-py"
        folder.mkdir()
        for name in PYTHON.file_md5:
            (folder / name).write_bytes(pickle.dumps({name: content}, protocol=2))
        return folder


def truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-700])
    return path


def removed(path: Path) -> Path:
    path.unlink()
    return path


def spoilt(path: Path, dataset: str) -> Path:
    edit(path, lambda file: file[dataset].__setitem__((3, 2), np.nan))
    return path


def command(verb: str, positional: list[Any], options: dict[str, Any]) -> list[str]:
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    return [str(word) for word in [*verb.split(), *positional, *words]]


def block(files: Files, **changes: Any) -> list[str]:
    options = {"data": files.data_file, "family": "cntk-v", "readout": "flatten", "depths": 3, "rows": "0:9"}
    options |= {"cols": "0:9", "backend": "reference", "out": files.folder / "out.h5"}
    return command("block", [], options | changes)


def merge(files: Files, paths: list[Path], **changes: Any) -> list[str]:
    return command("merge", paths, {"depth": 3, "out": files.folder / "out.h5"} | changes)


def solve(files: Files, **changes: Any) -> list[str]:
    options = {"data": files.data_file, "subset": "24x1", "out": files.folder / "out.json"}
    return command("solve", [], options | {"kernel": changes.pop("kernel", None) or files.kernel()} | changes)


def show(*metrics: Path, **options: Any) -> list[str]:
    return command("section show accuracy", [word for path in metrics for word in ("--metrics", path)], options)


def job(files: Files, name: str, **changes: Any) -> list[str]:
    options = {"params": files.params(), "data": files.data_file, "study_dir": files.folder / "study"}
    return command("section run small_data", [name], options | changes)


def page(study: Path) -> Path:
    return study / "sections" / "accuracy.json"


def without(study: Path, name: str) -> Path:
    (study / name).unlink()
    return study


def prepare(files: Files, source: Path, *flags: str) -> list[str]:
    return command("data prepare", ["cifar10", *flags], {"source": source, "out": files.folder / "out.h5"})


def on_full_disk(files: Files, verb: str) -> list[str]:
    """The verb, told to write to the small disk, of which a file takes what is left."""
    out = files.disk
    arguments = {
        "prepare": lambda: command("data prepare", ["digits"], {"out": out / "out.h5"}),
        "fetch": lambda: command("data fetch", ["cifar10"], {"out": out}),
        "block": lambda: block(files, out=out / "out.h5"),
        "merge": lambda: merge(files, files.blocks(), out=out / "out.h5"),
        "solve": lambda: solve(files, out=out / "out.json"),
        "job": lambda: job(files, "rbf", study_dir=out / "out"),
        "section": lambda: show(files.metrics(), study_dir=out),
        "summary": lambda: command("summary", ["--section", page(files.drawn_study())], {"study_dir": out}),
        "report": lambda: command("report", [], {"study_dir": files.drawn_study(), "out": out / "out.html"}),
    }[verb]()
    fill(out)
    return arguments


def fill(disk: Path) -> None:
    """Take what is left of a disk, to the last page."""
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while filler.tell() < 2**20:
                filler.write(bytes(512))
        except OSError:
            pass


class Malicious:
    """Leaves a file where it is unpickled."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch out.pwned",)


# What is wrong; the command line, from the files; what its one line must say. Files that it must not write are out.*
COMMANDS: list[tuple[str, Callable[[Files], list[str]], str]] = [
    ("even filter", lambda files: block(files, filter_size=4), "filter_size is 4; allowed are odd"),
    ("depth 1", lambda files: block(files, depths=1), "--depths is '1': '1' is no whole number from 2 to 1000"),
    ("unknown readout", lambda files: block(files, readout="flaten"), "readout is 'flaten'.*did you mean 'flatten'"),
    ("NaN in images", lambda files: block(files, data=files.nan_images()), r"x1\[5, 0, 0, 0\] is nan"),
    (
        "NaN in a block",
        lambda files: merge(files, [*(blocks := files.blocks())[1:], spoilt(blocks[0], "ntk/depth_03")]),
        r"0-0\.h5: ntk/depth_03 has nan at row 3, column 2",
    ),
    (
        "NaN in a block of a kernel",
        lambda files: (solve(files, kernel=files.kernel()), spoilt(files.first_block, "ntk/depth_03"))[0],
        r"block .*0-0\.h5 is not the one that kernel .*kernel\.h5 was merged from: delete the kernel and merge again",
    ),
    (
        "missing block of a kernel",
        lambda files: (solve(files, kernel=files.kernel()), removed(files.first_block))[0],
        r"block .*0-0\.h5, which kernel .*kernel\.h5 was merged from, is missing: run the study again",
    ),
    ("NaN as ridge", lambda files: solve(files, ridges="0,nan"), "--ridges is '0,nan': 'nan' is no number from 0"),
    (
        "missing images",
        lambda files: block(files, data=removed(files.data_file)),
        r"squares\.h5: no such file",
    ),
    (
        "missing archive",
        lambda files: prepare(files, files.folder / "nowhere.tar.gz"),
        r"nowhere\.tar\.gz: no such file.*data fetch cifar10",
    ),
    (
        "missing block",
        lambda files: merge(files, [*(blocks := files.blocks())[:-1], removed(blocks[-1])]),
        r"block .*33-18\.h5 is missing",
    ),
    (
        "missing list of blocks",
        lambda files: merge(files, [], blocks=files.folder / "nowhere.txt"),
        r"list of blocks .*nowhere\.txt cannot be read: .*No such file",
    ),
    ("missing kernel", lambda files: solve(files, kernel=files.folder / "nowhere.h5"), r"nowhere\.h5 is missing"),
    (
        "missing parameters",
        lambda files: command("estimate", [], {"params": "nowhere.yaml"}),
        r"nowhere\.yaml",
    ),
    (
        "missing study",
        lambda files: show(study_dir=files.folder / "nowhere"),
        "study_dir = .*nowhere: no such folder",
    ),
    (
        "missing metrics",
        lambda files: show(removed(files.metrics()), study_dir=files.folder / "study"),
        r"cntk-v-depth-03\.json cannot be read as metrics: .*No such file",
    ),
    (
        "missing sections",
        lambda files: command("report", [], {"study_dir": files.metrics().parents[1]}),
        "study/sections holds no section: run the workflow, or `exact-cntk section show`, first",
    ),
    (
        "missing figures",
        lambda files: command("report", [], {"study_dir": without(files.drawn_study(), "figures/accuracy.svg")}),
        r"accuracy\.svg is missing: run `exact-cntk section show accuracy",
    ),
    ("missing images of a job", lambda files: job(files, "rbf", data="nowhere.h5"), r"nowhere\.h5: no such file"),
    (
        "missing kernel of a job",
        lambda files: job(files, "cntk-v-depth-04"),
        r"study/kernels/cntk-v-depth-04\.h5 is missing",
    ),
    ("unknown job", lambda files: job(files, "rbv"), "section small_data of ci has no job 'rbv', did you mean 'rbf'"),
    (
        "unknown section",
        lambda files: command("section run", ["small-data", "rbf"], {"params": files.params()}),
        "section 'small-data' is unknown, did you mean 'small_data'",
    ),
    (
        "truncated images",
        lambda files: block(files, data=truncated(files.data_file)),
        r"squares\.h5: not a complete",
    ),
    (
        "truncated block",
        lambda files: merge(files, [*(blocks := files.blocks())[:-1], truncated(blocks[-1])]),
        r"block .*33-18\.h5 cannot be read, it is truncated or damaged",
    ),
    (
        "truncated kernel",
        lambda files: solve(files, kernel=truncated(files.kernel())),
        r"kernel\.h5 .*truncated",
    ),
    *(
        (f"full disk for {verb}", lambda files, verb=verb: on_full_disk(files, verb), said)
        for verb, said in {
            "prepare": r"cannot write .*out\.h5: No space left on device",
            "fetch": "0 MB free, 170 MB needed for the download",
            "block": r"cannot write .*out\.h5: No space left on device",
            "merge": r"needs .* of disk for .*out\.h5, .* available|No space left on device",
            "solve": r"cannot write .*out\.json: No space left on device",
            "job": r"cannot write .*rbf\.json: No space left on device",
            "section": r"cannot write .*accuracy\.csv: No space left on device",
            "summary": r"cannot write .*summary\.json: No space left on device",
            "report": r"cannot write .*out\.html: No space left on device",
        }.items()
    ),
    ("wrong md5 of an archive", lambda files: prepare(files, files.archive()), f"not the official.*not {ARCHIVE.md5}"),
    (
        "wrong md5 of a folder",
        lambda files: prepare(files, files.cifar()),
        f"data_batch_1 has md5 .*, not {PYTHON.file_md5['data_batch_1']}",
    ),
    (
        "wrong md5 of an existing file",
        lambda files: command("data fetch", ["cifar10"], {"out": files.archive().parent}),
        f"cifar-10-python.tar.gz: exists, but its md5 is .*, not {ARCHIVE.md5}; remove it",
    ),
    (
        "malicious pickle",
        lambda files: prepare(files, files.cifar(Malicious()), "--allow-unverified"),
        r"cifar-10-batches-py: \w+(\.meta)?: .*system.*only NumPy arrays and plain containers",
    ),
    (
        "negative eigenvalue",
        lambda files: solve(files, kernel=files.kernel(files.full - np.eye(34, 24))),
        r"kernel\.h5: ntk on images 0:24: K is not positive semi-definite.*smallest eigenvalue",
    ),
    (
        "too little memory allowed for the merge",
        lambda files: merge(files, files.blocks(), max_memory_gib=1e-7),
        r"merging cntk-v at depth 3 needs .* of memory, but --max-memory-gib allows 1e-07 GiB",
    ),
    (
        "too little memory there for the merge",
        lambda files: merge(files, files.blocks()),
        r"merging cntk-v at depth 3 needs .* of memory, .* available",
    ),
]


@pytest.fixture
def files(tmp_path, small_disk, data, data_file, full, monkeypatch) -> Files:
    monkeypatch.chdir(tmp_path)
    return Files(tmp_path, small_disk, data, data_file, full)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), prog_name="exact-cntk")


@pytest.mark.parametrize(("provoke", "named"), [pytest.param(*row, id=what) for what, *row in COMMANDS])
def test_the_command_line_says_what_is_wrong(provoke, named, files, request, monkeypatch):
    arguments = provoke(files)
    if "memory there" in request.node.callspec.id:
        monkeypatch.setattr("exact_cntk._support.machine.available_memory", lambda: 1000)
    result = run(*arguments)
    assert result.exit_code == 2, result.stderr
    assert isinstance(result.exception, SystemExit), result.exception  # a bug would keep its traceback
    (line,) = result.stderr.splitlines()
    assert line.startswith("exact-cntk: error: ")
    assert re.search(named, line), line
    assert result.stdout == ""
    assert not list(files.folder.rglob("out.*"))
