"""Finished parts of a job in a file, from which the same job resumes after an interruption."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from exact_cntk._support.stated_files import read_stated
from exact_cntk._support.statement import current
from exact_cntk.errors import UserError
from exact_cntk.study.documents import write_result
from exact_cntk.study.provenance import SECTION_PACKAGES, code_identity, packages

SAVE_SECONDS = 10.0  # from one writing to the next


class FinishedParts:
    """Finished parts of one problem in a file; parts of any other problem are ignored, and then replaced.

    Parameters
    ----------
    file : Path or None
        None keeps nothing.
    problem : list
        All that the parts depend on except the code and the inputs that the workflow states; JSON's values.
    save_seconds : float
        Seconds from one writing to the next.
    """

    def __init__(self, file: Path | None, problem: list[Any], *, save_seconds: float = SAVE_SECONDS) -> None:
        if file is not None and file.is_dir():
            raise UserError(f"checkpoint {file} is a folder; name a file")
        self._file, self._save_seconds, self._saved = file, save_seconds, time.monotonic()
        self._identity = hashlib.sha256(json.dumps([_made_by(), problem], sort_keys=True).encode()).hexdigest()
        self._parts = self._read()

    def part(self, name: str, compute: Callable[[], Any]) -> Any:
        """Give a part (JSON's values), computed unless it is finished."""
        if name not in self._parts:
            self._parts[name] = compute()
            if self._file is not None and time.monotonic() - self._saved >= self._save_seconds:
                write_result(self._file, {"identity": self._identity, "parts": self._parts})
                self._saved = time.monotonic()
        return self._parts[name]

    def forget(self) -> None:
        """Remove the file, after the whole result is written."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            saved = {} if self._file is None else read_stated(self._file)
            return dict(saved["parts"]) if saved["identity"] == self._identity else {}
        except (OSError, ValueError, LookupError, TypeError):  # missing, damaged, or written by something else
            return {}


def _made_by() -> Any:
    """The code that the parts depend on, and what they are made from as far as the workflow states it.

    In the workflow these are the sources that the rule lists, so that an edit of any other file discards nothing;
    elsewhere nobody lists them, and they are all of the package.
    """
    statement = current()
    if statement is None:
        return code_identity()
    return [statement.step, statement.sources, dict(statement.inputs), packages(SECTION_PACKAGES)]
