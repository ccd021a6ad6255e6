"""Every kind of file that a later step reads, the steps that read it, and what can happen to it; for tests alone."""

import errno
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import architecture_files
import numpy as np
from cnn_files import write_cnns, write_run
from kernel_files import linear_kernel, make_blocks, make_data
from synthetic import write_study
from typer.testing import CliRunner

from exact_cntk._support import statement as statement_module
from exact_cntk._support.checkpoint import Checkpoint
from exact_cntk._support.statement import Statement, check_parameters, claim, digest_sources, write_job
from exact_cntk.blocks import merge_blocks, read_list
from exact_cntk.cli import app
from exact_cntk.data import load_cifar10
from exact_cntk.errors import UserError
from exact_cntk.study.documents import write_json, write_result
from exact_cntk.study.params import load_params
from exact_cntk.study.report import write_report
from exact_cntk.study.resume import FinishedParts
from exact_cntk.study.sections import open_section
from exact_cntk.study.sections._run import section_jobs
from exact_cntk.study.sections.architectures.jobs import measured_seconds
from exact_cntk.study.sections.cnns.gather import gather
from exact_cntk.study.summary import write_summary

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "tests/unit/data"))
from cifar10_files import make_batches, python2_dumps, write_archive  # noqa: E402

ACCURACIES = {"depths": (3,), "subsets": ((20, 1), (10, 2)), "n_test": 61, "kinds": ("ntk",)}
PAGE = {"format_version": 1, "key": "correlation", "title": "Made up", "navigation": "Made", "text": "For tests."}


class Reader(NamedTuple):
    """A file, what reads it, and another study's file of the same kind, if that differs."""

    file: Path
    read: Callable[[], Any]
    other: Path | None = None


class Study:
    """A folder with one small study, made up without the workflow; every file that a reader may write goes to `out`."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.out = folder, folder / "out"
        self.images = folder / "images.h5"
        data = make_data(self.images, seed=seed)
        self.digest = data.digest
        self.blocks = make_blocks(folder / "blocks", data, linear_kernel(data))
        self.kernel = folder / "kernel.h5"
        merge_blocks(self.blocks, 3, self.kernel)
        self.listed = folder / "blocks.txt"
        self.listed.write_text("\n".join(map(str, self.blocks)), encoding="utf-8")

        self.metrics = write_study(folder / "made-up", image_shape=(8, 8, 1 + seed), **ACCURACIES)
        stated = json.loads(self.metrics[0].read_text(encoding="utf-8"))["data"] | {"digest": str(seed) * 64}
        for path in [*self.metrics, *(folder / "made-up/provenance").iterdir()]:
            write_result(path, json.loads(path.read_text(encoding="utf-8")) | {"data": stated})
        self.study = folder / "made-up"
        self.timing = self.study / "benchmarks/solve" / self.metrics[0].name
        times = {"seconds": {"solve": 1.5 + seed}, "finished": "at noon"}
        write_result(self.timing, times, {self.metrics[0]: self.metrics[0].read_bytes()})
        self.networks = write_cnns(self.study, stated, depths=(3,))
        self.runs = [
            write_run(folder / "training", data=stated, split=split, rate=rate, level=0.7 - 0.1 * seed)
            for split in ("validation", "test")
            for rate in (1.0, 10.0)
        ]
        self.grid = self.study / "architectures/arch.json"
        write_result(self.grid, architecture_files.grid(seed)[0] | {"data": stated})
        self.page, self.figure = self.study / "sections/correlation.json", self.study / "figures/made_up.svg"
        self.figure.parent.mkdir()
        drawing = f"<svg><title>{seed}</title></svg>".encode()
        self.figure.write_bytes(drawing)
        parts = {"headline": [f"{seed} things."], "figures": [{"name": "made_up", "caption": "Nothing."}]}
        table = {"caption": "Numbers", "columns": ["a"], "rows": [[str(seed)]]}
        content = PAGE | parts | {"tables": [table], "summary": {"best": 0.5 + seed}}
        write_result(self.page, content, {self.figure: drawing})
        self.measured = self.study / "benchmarks/sections/correlation.json"
        write_result(self.measured, {"format_version": 1, "tables": [table]}, {self.page: self.page.read_bytes()})
        self.block_timing = folder / "timings" / f"{self.blocks[0].stem}.json"
        write_result(self.block_timing, {"kernel_seconds": 1.5})

        self.checkpoint, self.parts = folder / "checkpoint.npz", folder / "parts.json"
        weights = {"step": 3, "weights.first": np.arange(500.0) + seed, "rows": np.eye(3)}
        Checkpoint(self.checkpoint, f"run {seed}").save(**weights)
        FinishedParts(self.parts, ["problem", seed], save_seconds=0).part("a", lambda: {"accuracy": 0.25 + seed})
        (folder / "source.py").write_text("1\n", encoding="utf-8")
        statement = Statement("solve", {"seed": seed}, "d1", digest_sources(["source.py"], folder))
        self.job = write_job(statement, {"": ["source.py"]}, folder / "jobs", folder)
        self.archive = write_archive(
            folder / "cifar-10-python.tar.gz", {name: python2_dumps(batch) for name, batch in make_batches().items()}
        )
        self.section = folder / "small_data.yaml"
        self.section.write_text(json.dumps({"trees": 10 + seed, "penalty": 1e-05}) + "\n", encoding="utf-8")
        self.params = folder / "params.json"
        params = load_params(ROOT / "config/ci.yaml")
        write_json(self.params, params | {"study": f"ci-{seed}"})

    def readers(self, other: "Study") -> dict[str, Reader]:
        """All kinds of files."""
        found: dict[str, tuple[str, Callable[[], Any]]] = {
            "images": ("images", self._solve),
            "kernel": ("kernel", self._solve),
            "list of blocks": ("listed", lambda: self._merge(read_list(self.listed))),
            "accuracies in a section": ("metrics", lambda: self._open("cnns", self.networks)),
            "accuracies in the report": ("metrics", self._report),
            "times": ("timing", self._report),
            "page in the report": ("page", self._report),
            "page in the summary": ("page", self._summary),
            "figure": ("figure", self._report),
            "measured tables": ("measured", self._report),
            "networks": ("networks", lambda: self._open("cnns", self.networks)),
            "architectures": ("grid", lambda: self._open("architectures", [self.grid])),
            "training run": ("runs", self._gather),
            "timing of a block": ("block_timing", self._seconds),
            "checkpoint": ("checkpoint", self._resume),
            "finished parts": ("parts", self._go_on),
            "job": ("job", self._claim),
            "section's parameters": ("section", self._section_provenance),
            "study's parameters": ("params", self._plan),
        }
        readers = {}
        for name, (attribute, read) in found.items():
            file, others = getattr(self, attribute), getattr(other, attribute)
            first = file[0] if isinstance(file, list) else file
            readers[name] = Reader(first, read, others[0] if isinstance(others, list) else others)
        # Whoever gives another list asks for other blocks.
        readers["list of blocks"] = Reader(self.listed, readers["list of blocks"].read)
        digest, block = self.images.with_suffix(".json"), self.blocks[1]
        provenance = [study.study / "provenance" / self.metrics[0].name for study in (self, other)]
        curves = self.networks[1]
        readers |= {
            "digest": Reader(digest, self._section_provenance, other.images.with_suffix(".json")),
            "block": Reader(block, lambda: self._merge(self.blocks), other.blocks[1]),
            "block of a kernel": Reader(block, self._solve, other.blocks[1]),
            "provenance": Reader(provenance[0], self._report, provenance[1]),
            "learning curves": Reader(curves, lambda: self._open("cnns", self.networks), self.networks[3]),
            "archive": Reader(self.archive, self._prepare),
        }
        return readers

    def _solve(self) -> bytes:
        verb("solve", "--kernel", self.kernel, "--data", self.images, "--subset", "24x1", "--out", self.out / "m.json")
        return (self.out / "m.json").read_bytes()

    def _merge(self, blocks: list[Path]) -> bytes:
        merge_blocks(blocks, 3, self.out / "kernel.h5")
        return (self.out / "kernel.h5").read_bytes()

    def _open(self, key: str, files: list[Path]) -> str:
        _, results = open_section(key, self.study, self.metrics, files, resamples=5)
        parts = {name: value for name, value in vars(results).items() if not name.startswith("_")}
        study = parts.pop("study")
        parts |= vars(study) if not isinstance(study, str) else {}
        return repr({name: getattr(value, "to_dict", lambda value=value: value)() for name, value in parts.items()})

    def _report(self) -> bytes:
        return write_report(self.study, self.metrics, sections=[self.page], out=self.out / "report.html").read_bytes()

    def _summary(self) -> bytes:
        return write_summary(self.study, [self.page])[0].read_bytes()

    def _gather(self) -> bytes:
        gather(self.runs, self.out / "cnn.json", self.out / "cnn.csv")
        return (self.out / "cnn.json").read_bytes() + (self.out / "cnn.csv").read_bytes()

    def _seconds(self) -> float | None:
        seconds = measured_seconds(self.blocks[:1], self.block_timing.parent)
        return 1.5 if seconds is None else seconds

    def _resume(self) -> str:
        saved = Checkpoint(self.checkpoint, "run 0").load()
        if saved is None:
            Checkpoint(self.folder / "again.npz", "run 0").save(step=3, rows=np.eye(3))  # trained again
            return "trained"
        assert set(saved) == {"identity", "step", "weights.first", "rows"}
        assert np.array_equal(saved["weights.first"], np.arange(500.0)) and np.array_equal(saved["rows"], np.eye(3))
        return "trained"

    def _go_on(self) -> Any:
        return FinishedParts(self.parts, ["problem", 0]).part("a", lambda: {"accuracy": 0.25})

    def _claim(self) -> Statement | None:
        with stating(None):
            claim(self.job)
            return statement_module.current()

    def _section_provenance(self) -> Any:
        digest = self.images.with_suffix(".json")
        options = ("--data", digest, "--parameters", self.section, "--out", self.out / "p.json")
        parameters = {"parameters": {"trees": 10, "penalty": 1e-05}}
        with stating(Statement("section_provenance", parameters, data=self.digest)):
            verb("section", "provenance", *options)
        document = json.loads((self.out / "p.json").read_text(encoding="utf-8"))
        return document["data"], document["parameters"]

    def _plan(self) -> Any:
        """The parameters of a job, as the workflow has planned it."""
        planned = section_jobs("small_data", load_params(ROOT / "config/ci.yaml"))["rbf"].parameters
        with stating(Statement("small_data_baseline", json.loads(json.dumps(planned | {"study": "ci-0"})))):
            jobs = section_jobs(
                "small_data", load_params(self.params, schema=ROOT / "workflow/schemas/params.schema.yaml")
            )
            if "rbf" not in jobs:
                raise UserError(f"{self.params} has no such job")
            check_parameters(str(self.params), jobs["rbf"].parameters)

    def _prepare(self) -> None:
        """Whatever comes out says that it is not verified, with its digest."""
        assert not load_cifar10(self.archive, allow_unverified=True).verified


def verb(*arguments: object) -> None:
    """Run the command line in this process; what it refuses is a UserError, everything else is raised as it is."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if done.exit_code == 2:
        raise UserError(done.stderr.removesuffix("\n"))
    if done.exception is not None:
        raise done.exception


@contextmanager
def stating(statement: Statement | None) -> Iterator[None]:
    """As a job of the workflow with this statement."""
    statement_module._current = statement
    try:
        yield
    finally:
        statement_module._current = None


Damage = Callable[[Reader, random.Random, dict[str, Reader]], None]


def _content(reader: Reader, change: Callable[[bytearray], object]) -> None:
    content = bytearray(reader.file.read_bytes())
    change(content)
    reader.file.unlink()
    reader.file.write_bytes(content)


def _truncate(reader: Reader, draw: random.Random, _: object) -> None:
    size = draw.randrange(reader.file.stat().st_size)
    _content(reader, lambda content: content.__delitem__(slice(size, None)))


def _flip(reader: Reader, draw: random.Random, _: object) -> None:
    def flip(content: bytearray) -> None:
        for _ in range(draw.choice([1, 1, 1, 4])):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)

    _content(reader, flip)


def _zeros(reader: Reader, draw: random.Random, _: object) -> None:
    def zero(content: bytearray) -> None:
        start = draw.randrange(len(content))
        length = min(draw.choice([8, 512, 4096]), len(content) - start)
        content[start : start + length] = bytes(length)

    _content(reader, zero)


def _wrong_types(reader: Reader, draw: random.Random, readers: dict[str, Reader]) -> None:
    """One value of a document, at any depth, becomes one of another type."""
    try:
        document = json.loads(reader.file.read_bytes())
    except ValueError:
        return _flip(reader, draw, readers)
    place, keys = document, []
    while isinstance(place, dict | list) and place and (not keys or draw.random() < 0.7):
        keys.append(draw.choice(sorted(place) if isinstance(place, dict) else range(len(place))))
        parent, place = place, place[keys[-1]]
    if keys:
        parent[keys[-1]] = draw.choice([None, "1", 7, -1, 0.5, True, [], {}, [[]], float("nan")])
    text = json.dumps(document)
    return _content(reader, lambda content: content.__setitem__(slice(None), text.encode()))


def _written(content: bytes) -> Damage:
    return lambda reader, draw, readers: _content(reader, lambda old: old.__setitem__(slice(None), content))


def _other(reader: Reader, draw: random.Random, _: object) -> None:
    if reader.other is not None:
        shutil.copy(reader.other, reader.file)


def _other_kind(reader: Reader, draw: random.Random, readers: dict[str, Reader]) -> None:
    shutil.copy(draw.choice([one.file for one in readers.values() if one.file != reader.file]), reader.file)


def _instead(make: Callable[[Path], object]) -> Damage:
    def damage(reader: Reader, draw: random.Random, readers: object) -> None:
        reader.file.unlink()
        make(reader.file)

    return damage


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        try:
            file.truncate(2**40)
        except OSError as error:
            if error.errno not in (errno.EFBIG, errno.ENOSPC):
                raise


DAMAGES: dict[str, Damage] = {
    "truncated": _truncate,
    "bits flipped": _flip,
    "zeros": _zeros,
    "wrong types": _wrong_types,
    "another study's file": _other,
    "a file of another kind": _other_kind,
    "empty": _written(b""),
    "null": _written(b"null"),
    "list": _written(b"[]"),
    "nested": _written(b'{"a": ' * 100_000),
    "not text": _written(bytes(range(256))),
    "folder": _instead(Path.mkdir),
    "missing": _instead(lambda path: None),
    "pipe": _instead(os.mkfifo),
    "device": _instead(lambda path: path.symlink_to("/dev/zero")),
    "dangling link": _instead(lambda path: path.symlink_to("nowhere")),
    "link to itself": _instead(lambda path: path.symlink_to(path.name)),
    "huge": _instead(_sparse),
}
OFTEN = ("truncated", "bits flipped", "zeros", "wrong types")  # differ from try to try
# Without these files, or with those of another page, nothing is said of what they would tell.
OPTIONAL = ("times", "measured tables", "provenance")


def read_all(readers: dict[str, Reader]) -> dict[str, Any]:
    """What the intact files give, by the name of their kind; and the report without those that it can do without."""
    found = {name: reader.read() for name, reader in readers.items()}
    for name in OPTIONAL:
        file = readers[name].file
        content = file.read_bytes()
        file.unlink()
        found[f"without {name}"] = readers[name].read()
        file.write_bytes(content)
    return found


def try_out(kind: str, damage: str, seed: object, readers: dict[str, Reader], expected: dict[str, Any]) -> None:
    """Damage a file, read it, and mend it again: it is refused in one line that names it, or nothing has changed."""
    reader = readers[kind]
    intact = reader.file.read_bytes()
    try:
        DAMAGES[damage](reader, random.Random(f"{kind} {damage} {seed}"), readers)
        try:
            found = reader.read()
        except UserError as error:
            assert "\n" not in str(error), error
            # of a list of names, it names what they name
            assert kind == "list of blocks" or (reader.file.stem in str(error) and len(str(error)) < 2000), error
        else:
            same = found in [expected[kind], *(expected[f"without {name}"] for name in OPTIONAL)]
            assert same, f"{kind}, {damage}: another result"
    finally:
        if reader.file.is_dir() and not reader.file.is_symlink():
            reader.file.rmdir()
        else:
            reader.file.unlink(missing_ok=True)
        reader.file.write_bytes(intact)
