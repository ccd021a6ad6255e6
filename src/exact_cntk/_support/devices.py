"""Several GPUs in one machine: every process takes a free one."""

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import IO

from exact_cntk._support.machine import gpu_nodes
from exact_cntk.errors import UserError

VARIABLE = "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 0.2


def visible_devices() -> list[str]:
    """Name the GPUs that this process may choose from, as CUDA_VISIBLE_DEVICES names them."""
    listed = os.environ.get(VARIABLE)
    if listed is None:
        return [str(index) for index in range(len(gpu_nodes()))]
    # As CUDA does, stop at the first invalid name.
    return list(takewhile(lambda name: name and not name.startswith("-"), map(str.strip, listed.split(","))))


@contextmanager
def sole_device(devices: Sequence[str] | None = None, folder: Path | None = None) -> Iterator[str | None]:
    """Take a GPU for as long as the context lasts, the first one that is free; wait if none is.

    Within the context CUDA_VISIBLE_DEVICES names that GPU alone, so it must be entered before CUDA starts. A GPU is
    taken by a lock on a file, which the system releases when its owner dies. With a single GPU there is no choice
    and no lock: a cluster's scheduler, or the user, has chosen.

    Parameters
    ----------
    devices : sequence of str, optional
        By default `visible_devices()`.
    folder : Path, optional
        For the locks; by default one for this user in the system's folder for temporary files.

    Yields
    ------
    str or None
        The GPU that was taken; None if there is none at all.

    Raises
    ------
    UserError
        The locks cannot be written.
    """
    devices = visible_devices() if devices is None else devices
    if len(devices) < 2:
        yield devices[0] if devices else None
        return
    before = os.environ.get(VARIABLE)
    taken, lock = _wait_for_device(devices, folder or Path(tempfile.gettempdir()) / f"exact-cntk-gpus-{os.getuid()}")
    os.environ[VARIABLE] = taken
    try:
        yield taken
    finally:
        lock.close()
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def _wait_for_device(devices: Sequence[str], folder: Path) -> tuple[str, IO[str]]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        locks = {device: (folder / f"{device.replace('/', '_')}.lock").open("a") for device in devices}
    except OSError as error:
        raise UserError(f"GPUs are shared out by locks in {folder}, which cannot be written: {error}") from error
    taken = None
    try:
        while True:
            for taken in devices:
                try:
                    fcntl.flock(locks[taken], fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                return taken, locks.pop(taken)
            time.sleep(POLL_SECONDS)
    finally:
        for lock in locks.values():
            lock.close()
