"""Progress of long calls: a bar on stderr, the caller's own function, or nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Progress = Callable[[int, int], object]


class _Bar:
    """Shows done of total on a bar of tqdm's."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar

    def __call__(self, done: int, total: int) -> None:
        self.bar.total = total
        self.bar.update(done - self.bar.n)


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
            yield _Bar(bar)


def note(report: Progress, text: str) -> None:
    """Show a text beside the numbers of a bar; a caller's function is given numbers alone."""
    if isinstance(report, _Bar):
        report.bar.set_postfix_str(text, refresh=False)
