"""Progress of long calls: a bar on stderr, the caller's own function, or nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], object]


@contextmanager
def reporting(progress: bool | Progress, label: str, unit: str) -> Iterator[Progress | None]:
    """The caller's function of (done, total); for True one that shows a bar with this label; None for False."""
    if not isinstance(progress, bool):
        yield progress
    elif not progress:
        yield None
    else:
        from tqdm import tqdm

        with tqdm(desc=label, unit=f" {unit}", unit_scale=True) as bar:

            def report(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield report
