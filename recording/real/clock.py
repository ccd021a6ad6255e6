"""A time budget that work stays within."""

import time


class OutOfTimeError(Exception):
    """The budget is spent, or the next step would not fit into it; all that was finished is kept."""


class Clock:
    """Seconds from now on.

    Parameters
    ----------
    budget : float, optional
        None: no limit.
    """

    def __init__(self, budget: float | None = None) -> None:
        self.start = time.monotonic()
        self.budget = budget
        self._rates: dict[str, float] = {}

    @property
    def left(self) -> float:
        """Seconds left; infinite without a budget."""
        return float("inf") if self.budget is None else self.budget - (time.monotonic() - self.start)

    def tick(self, done: int = 0, total: int = 0) -> None:
        """Stop here if time is up: a progress callback, called all the time during long work."""
        if self.left <= 0:
            raise OutOfTimeError("the time budget is spent")

    def require(self, what: str, kind: str, work: float) -> None:
        """Refuse to start work that would not fit, going by the speed measured for its kind.

        Raises
        ------
        OutOfTimeError
        """
        self.tick()
        rate = self._rates.get(kind)
        if rate is not None and work / rate > self.left:
            raise OutOfTimeError(f"{what} needs about {work / rate:.0f} s, {self.left:.0f} s are left")

    def learn(self, kind: str, work: float, seconds: float) -> None:
        """Record how fast work of a kind was; the last measurement counts, as the first includes compilation."""
        if seconds > 0:
            self._rates[kind] = work / seconds
