"""Progress of long calls: a bar on stderr, the caller's own function, or nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], object]


@contextmanager
def reporting(progress: bool | Progress, what: str, unit: str) -> Iterator[Progress | None]:
    """A function of (done, total) that reports as the user asked for, or None.

    Parameters
    ----------
    progress : bool or callable(done, total)
        True shows a bar.
    what, unit : str
        Label and unit of the bar.
    """
    if not isinstance(progress, bool):
        yield progress
    elif not progress:
        yield None
    else:
        from tqdm import tqdm

        with tqdm(desc=what, unit=f" {unit}", unit_scale=True) as bar:

            def report(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield report
