"""What made a result file: stated in the file itself, and compared with the study before the file is used.

The workflow works out beforehand what a job's files are to be made from, and hands that statement to the job
(``exact-cntk --made-from FILE VERB``). The job compares it with its inputs and its own code, and writes it into its
files. Before the next plan the workflow reads it back: a file that states something else is made again, whoever wrote
it. It has no time stamps: same input, same bytes.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from exact_cntk._support.reading import read_bytes, read_object
from exact_cntk.errors import UserError

PACKAGE = "src/exact_cntk"  # in the checkout
IDENTITY_DIGITS = 32  # of a SHA-256 in hexadecimal
LONGEST_VALUE = 100  # characters, of parameters in messages
AGAIN = "run the study again"


@dataclass(frozen=True)
class Statement:
    """What a file was made from, or is to be made from; all values are JSON's.

    Attributes
    ----------
    step : str
        The step of the study: the rule's name.
    parameters : mapping
        All that the step's files depend on, besides the following.
    data : str or None
        Digest of the study's images.
    sources : str
        `digest_sources` of the step's sources.
    inputs : mapping of str to str
        File, or folder of blocks → identity of its statement, of the results that the step reads; of a file that was
        there, "+" and a digest of all that it stated follow, the backends behind it among them.
    backends : mapping of str to str
        Backend of kernels → digest of the sources of its own: of all backends that the parameters allow, where the
        statement says what is to be made; of the one that has computed, in a file.
    place : mapping of str to str
        Of a file that is one part of several that are otherwise made from the same.
    """

    step: str
    parameters: Mapping[str, Any]
    data: str | None = None
    sources: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    backends: Mapping[str, str] = field(default_factory=dict)
    place: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """What can be known beforehand: the same for all parts, and whichever of the allowed backends computes."""
        content = {name: value for name, value in asdict(self).items() if name not in ("backends", "place")}
        content["inputs"] = {name: value.partition("+")[0] for name, value in self.inputs.items()}
        return hashlib.sha256(_canonical(content).encode()).hexdigest()[:IDENTITY_DIGITS]

    def as_input(self) -> str:
        """What is stated of a file with this statement by those that are made from it."""
        return f"{self.identity}+{hashlib.sha256(self.text().encode()).hexdigest()[:IDENTITY_DIGITS]}"

    def document(self) -> dict[str, Any]:
        """For JSON; empty parts are left out."""
        return {name: value for name, value in asdict(self).items() if value or name == "parameters"}

    def text(self) -> str:
        """One line of JSON."""
        return _canonical(self.document())

    @classmethod
    def from_document(cls, document: Any) -> "Statement":
        """Back from JSON; ValueError or TypeError if it is none."""
        if not isinstance(document, dict):
            raise ValueError("its statement is no JSON object")
        if unknown := document.keys() - {part.name for part in fields(cls)}:
            raise ValueError(f"its statement has an unknown part, {min(unknown)!r}")
        return cls(**document)


@dataclass(frozen=True)
class Misfit:
    """Why a file is not the expected one."""

    reason: str
    input: str | None = None  # the first of its inputs that was another one


def difference(stated: Statement, expected: Statement) -> Misfit | None:
    """Say why a file that states `stated` is not one that `expected` describes; None if it is."""
    if stated.step != expected.step:
        return Misfit(f"it was made by the step {stated.step}")
    if stated.place != expected.place:
        return Misfit(f"it is for {_canonical(stated.place)} instead of {_canonical(expected.place)}")
    for name in dict.fromkeys([*expected.parameters, *stated.parameters]):
        was, now = (_canonical(statement.parameters.get(name)) for statement in (stated, expected))
        if was != now:
            return Misfit(f"{name} was {_shortened(was)} and is {_shortened(now)}")
    if stated.data != expected.data:
        return Misfit(f"it was made from other images (digest {str(stated.data)[:12]}, now {str(expected.data)[:12]})")
    for name in dict.fromkeys([*expected.inputs, *stated.inputs]):
        if name not in expected.inputs:
            return Misfit(f"it was made from {name} as well")
        if name not in stated.inputs:
            return Misfit(f"it was made without {name}")
        if not stated.inputs[name].startswith(expected.inputs[name]):
            return Misfit(f"it was made from another {name}", name)
    if stated.sources != expected.sources:
        return Misfit("it was made by other code")
    if bool(stated.backends) != bool(expected.backends):
        return Misfit("its backend is unknown")
    for name, digest in stated.backends.items():
        if name not in expected.backends:
            return Misfit(f"it was computed by the backend {name}")
        if digest != expected.backends[name]:
            return Misfit(f"it was made by other code of the backend {name}")
    return None


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def digest_sources(patterns: Iterable[str], root: Path = Path()) -> str:
    """SHA-256 over names and content of the source files of a checkout; FileNotFoundError if a pattern matches none."""
    digest = hashlib.sha256()
    for path in source_files(patterns, root):
        digest.update(f"{path} {_file_digest(root / path)}\n".encode())
    return digest.hexdigest()[:IDENTITY_DIGITS]


def source_files(patterns: Iterable[str], root: Path = Path()) -> list[str]:
    """List the files that patterns match, without repeats, sorted, relative to `root`."""
    files: set[str] = set()
    for pattern in patterns:
        matches = [str(path.relative_to(root)) for path in root.glob(pattern) if path.is_file()]
        if not matches:
            raise FileNotFoundError(f"no source file {root / pattern}")
        files.update(matches)
    return sorted(files)


@cache
def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)


# What this process makes its files from; a process is one job.
_current: Statement | None = None


def current() -> Statement | None:
    """The statement for the files of this process; None outside of the workflow."""
    return _current


def claim(job_file: Path) -> None:
    """Adopt the statement in a file from `write_job`, after comparing it with this process's code and inputs.

    Raises
    ------
    UserError
        It cannot be read; the code that runs is other code; or an input is not what the study makes.
    """
    global _current
    try:
        job = read_object(job_file)
        if not job_file.stem.endswith(f"-{_job_digest(job)}"):
            raise ValueError("its content does not have the checksum in its name")
        statement = Statement.from_document(job["statement"])
        _check_code(statement, job["source_files"], Path(job["checkout"]))
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise UserError(
            f"{job_file} cannot be read ({error}); it is what the workflow hands to its jobs: delete it, and {AGAIN}"
        ) from error
    _current = statement
    check_inputs([name for name in statement.inputs if not Path(name).is_dir()])


def write_job(
    statement: Statement, source_files: Mapping[str, Sequence[str]], folder: Path, checkout: Path = Path()
) -> Path:
    """Write what `claim` takes to a file that is named by its content.

    `source_files` are the patterns of its sources, from the checkout: by backend, and by "" those of all.
    """
    job = {"statement": statement.document(), "source_files": source_files, "checkout": str(checkout)}
    path = folder / f"{statement.step}-{_job_digest(job)}.json"
    content = _canonical(job).encode()
    if not (path.is_file() and path.read_bytes() == content):
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(content)
        unfinished.replace(path)
    return path


def _job_digest(job: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(job).encode()).hexdigest()[:IDENTITY_DIGITS]


def _check_code(statement: Statement, patterns: Mapping[str, Sequence[str]], checkout: Path) -> None:
    """Compare the code of this process with that of the plan and, if installed elsewhere, with the checkout's."""
    planned = {"": statement.sources, **statement.backends}
    try:
        edited = any(digest_sources(files, checkout) != planned[name] for name, files in patterns.items())
    except FileNotFoundError:
        edited = True
    if edited:
        raise UserError(f"the code of the step {statement.step} has been edited since this run was planned; {AGAIN}")
    package, own = Path(__file__).resolve().parents[1], (checkout / PACKAGE).resolve()
    every = [pattern for files in patterns.values() for pattern in files]
    for name in source_files(every, checkout) if package != own else ():
        source = checkout / name
        installed = package / Path(name).relative_to(PACKAGE) if name.startswith(f"{PACKAGE}/") else source
        if installed.exists() and _file_digest(installed) != _file_digest(source):
            raise UserError(
                f"the package that runs, {package}, is not this checkout's: {name} differs; install this checkout "
                "(make install), or bring both to the same revision"
            )


def check_inputs(paths: Iterable[str | Path]) -> None:
    """Compare inputs, or files in a folder that is one, with the statement of this process, and adopt their backends.

    Raises
    ------
    UserError
        Naming a file that is missing, damaged, or not what the study makes.
    """
    global _current
    if _current is None:
        return
    backends: dict[str, str] = {}
    inputs = dict(_current.inputs)
    listed: dict[Path, str] = {}
    silent = set()
    checked = [Path(path) for path in paths]
    for path in checked:
        expected = (_current.inputs.get(str(path)) or _current.inputs.get(str(path.parent), "")).partition("+")[0]
        statement, files = read_statement(path)
        listed.update(files)
        if statement is None:
            silent.add(path)
        elif statement.identity != expected:
            raise UserError(
                f"{path} is not what the parameters of this study make: it was made by the step {statement.step} from "
                f"{_canonical(statement.parameters)}; {AGAIN}"
            )
        else:
            backends.update(statement.backends)
            inputs |= {str(path): statement.as_input()} if str(path) in inputs else {}
    _check_listed(checked, silent, listed)
    _current = replace(_current, inputs=inputs)
    if _current.backends and backends:
        _check_backends(_current, backends)
        _current = replace(_current, backends=backends)


def check_parameters(what: str, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that a process has read and that are not those of its statement."""
    if _current is None:
        return
    for name, value in json.loads(json.dumps(parameters, default=str)).items():
        if value != _current.parameters.get(name):
            planned = _shortened(_canonical(_current.parameters.get(name)))
            raise UserError(f"{what}: {name} is {_shortened(json.dumps(value))}, but was planned as {planned}; {AGAIN}")


def check_data(path: Path, digest: str) -> None:
    """Refuse images, by their digest, that are not those of this process's statement."""
    if _current is not None and digest != _current.data:
        raise UserError(
            f"{path} holds other images (digest {digest[:12]}) than this study's (digest {str(_current.data)[:12]}); "
            f"{AGAIN}"
        )


def computed_by(backend: str) -> None:
    """Record which of the allowed backends this process computes with."""
    global _current
    if _current is not None and _current.backends:
        backends = {backend: _current.backends.get(backend, "")}
        _check_backends(_current, backends)
        _current = replace(_current, backends=backends)


def _check_backends(statement: Statement, backends: Mapping[str, str]) -> None:
    for name, digest in backends.items():
        if statement.backends.get(name) != digest:
            what = "is not in the study's parameters" if name not in statement.backends else "was other code then"
            raise UserError(f"backend {name} {what}; {AGAIN}")


def _check_listed(paths: Iterable[Path], silent: Iterable[Path], listed: Mapping[Path, str]) -> None:
    """Compare files that cannot state anything themselves, and others that are listed, with the SHA-256 listed."""
    for path in paths:
        if path in silent or path.resolve() in listed:
            check_listed(path, listed)


def check_listed(path: Path, listed: Mapping[Path, str]) -> None:
    """Compare a file with the SHA-256 that another one lists."""
    if path.resolve() not in listed:
        raise UserError(f"{path} does not state what it was made from; {AGAIN}")
    try:
        digest = hashlib.sha256(read_bytes(path)).hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); {AGAIN}") from error
    if digest != listed[path.resolve()]:
        raise UserError(
            f"{path} is damaged: it does not have the checksum that the file which lists it states; {AGAIN}"
        )


def misfit(paths: Iterable[Path], expected: Statement) -> Misfit | None:
    """Say why the existing ones of a job's files are not those that `expected` describes; None if they are."""
    listed: dict[Path, str] = {}
    silent = set()
    existing = [path for path in paths if path.exists()]
    try:
        for path in existing:
            statement, files = read_statement(path)
            listed.update(files)
            if statement is None:
                silent.add(path)
            elif fault := difference(statement, expected):
                return fault
        _check_listed(existing, silent, listed)
    except UserError as error:
        return Misfit(str(error).removesuffix(f"; {AGAIN}"))
    return None


def is_stated(path: Path) -> bool:
    """Whether a file has the statement of this process; outside of the workflow, every file counts."""
    return _current is None or misfit([path], _current) is None


def read_statement(path: Path) -> tuple[Statement | None, dict[Path, str]]:
    """The statement in a file, and the SHA-256 of each file that it lists; of HDF5 files only the head is read."""
    from exact_cntk._support.stated_files import READERS

    reader = READERS.get(path.suffix)
    if reader is None:
        return None, {}
    try:
        document = reader(path)
        stated = document.get("made_from")
        files = {(path.parent / name).resolve(): str(digest) for name, digest in document.get("files", {}).items()}
        return (None if stated is None else Statement.from_document(stated)), files
    except FileNotFoundError:
        raise UserError(f"{path} is missing; {AGAIN}") from None
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read, it is damaged ({error}); {AGAIN}") from error
