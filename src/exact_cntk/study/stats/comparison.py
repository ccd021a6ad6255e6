"""A cheap accuracy (proxy) against an expensive one (target) over the same architectures, with its uncertainty.

Two things are random in a measured accuracy: which images were trained on and which were tested on. Both are resampled
in pairs: one draw of test images serves all architectures and both sides, one draw of training subsets all
architectures. The architectures are not resampled, because the question is about these; a permutation test says how
likely so few agree by chance.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from exact_cntk.errors import UserError
from exact_cntk.study.stats.statistics import (
    COEFFICIENTS,
    STATISTICS,
    interval,
    percentiles,
    permutation_p,
    remove_means,
    undefined_reason,
)

# What names one set of answers, or one draw of repeats.
Key = Any
# What is resampled: the proxy's training subsets; test images; all at once, with the target's subsets or seeds.
KINDS = ("subsets", "tests", "both")
# Fewer repeats than this are not resampled: two values say nothing about a spread.
MIN_REPEATS = 3
# Resampled test sets at a time: 200 × 10,000 counts of 8 bytes are 16 MB.
_CHUNK = 200


@dataclass(frozen=True)
class Comparison:
    """One proxy against one target over n architectures.

    Attributes
    ----------
    source, dataset, proxy, target, scope : str
        Who computed it on which data, the names of the two sides, and over which architectures.
    architectures : list of (family, name)
        The name is a depth (int) or any text.
    x, y : arrays of shape (n,)
        Accuracies of proxy and target, fractions.
    resampled : dict
        Kind (of `KINDS`) → pair of arrays of shape (resamples, n), the two sides under that bootstrap.
    x_repeats : array of shape (repeats, n), optional
        The proxy from each single training subset.
    """

    source: str
    dataset: str
    proxy: str
    target: str
    scope: str
    architectures: list[tuple[str, Hashable]]
    x: np.ndarray
    y: np.ndarray
    resampled: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    x_repeats: np.ndarray | None = None

    @property
    def families(self) -> list[str]:
        """The family of each architecture."""
        return [family for family, _ in self.architectures]

    @property
    def within_families(self) -> bool:
        """Whether the families' means are removed."""
        return self.scope.endswith("family means removed")

    @property
    def widest(self) -> str:
        """The kind of bootstrap that resamples most."""
        return "both" if "both" in self.resampled else "tests"

    def without_family_means(self) -> "Comparison":
        """The same comparison with each family's mean removed from both sides."""
        x, y = (remove_means(side, self.families) for side in (self.x, self.y))
        drawn = {
            kind: (remove_means(first, self.families), remove_means(second, self.families))
            for kind, (first, second) in self.resampled.items()
        }
        repeats = None if self.x_repeats is None else remove_means(self.x_repeats, self.families)
        scope = f"{self.scope}, family means removed"
        return replace(self, scope=scope, x=x, y=y, resampled=drawn, x_repeats=repeats)

    def rows(self) -> list[dict[str, Any]]:
        """One row per statistic: value, intervals of 95 %, p-value and what a single subset gives.

        Returns
        -------
        list of dict
            `source`, `dataset`, `proxy`, `target`, `scope`, `n`, `statistic` ("pearson" | "spearman" | "kendall" |
            "regret"; the last is a fraction of the test set), `value`; `<kind>_low` and `<kind>_high` for each of
            `KINDS`; `p` (one-sided permutation test, coefficients only; within families if their means are removed);
            `one_subset`, `one_subset_low`, `one_subset_high` (mean and range of the statistic over single training
            subsets, empty for fewer than two), `single_subsets` (how many there are) and `single_subsets_defined` (for
            how many the statistic is defined: the mean is over these); `picked` and `best` (rows of regret, which
            does not exist with family means removed: nobody chooses among averages); `note` (why a value is NaN, or
            empty).
        """
        return [dict(row) for row in self._rows]

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        return [self._row(name) for name in (COEFFICIENTS if self.within_families else STATISTICS)]

    def value(self, statistic: str) -> float:
        """One statistic of the measured accuracies; NaN if it is not defined."""
        return float("nan") if self._note(statistic) else float(STATISTICS[statistic](self.x, self.y))

    def draws(self, statistic: str, kind: str) -> np.ndarray:
        """The statistic under a bootstrap of `KINDS`, of shape (resamples,)."""
        return STATISTICS[statistic](*self.resampled[kind])

    def interval(self, statistic: str, kind: str) -> tuple[float, float]:
        """The interval of 95 % of a statistic under a bootstrap of `KINDS`; NaN if there is none."""
        if kind not in self.resampled or self._note(statistic):
            return np.nan, np.nan
        draws = self.draws(statistic, kind)
        return percentiles(draws) if statistic == "regret" else interval(self.value(statistic), draws)

    def _row(self, name: str) -> dict[str, Any]:
        note = self._note(name)
        row: dict[str, Any] = {key: getattr(self, key) for key in ("source", "dataset", "proxy", "target", "scope")}
        row |= {"n": len(self.x), "statistic": name, "value": self.value(name)}
        for kind in KINDS:
            row |= dict(zip((f"{kind}_low", f"{kind}_high"), self.interval(name, kind), strict=True))
        groups = self.families if self.within_families else None
        tested = name in COEFFICIENTS and not note
        row["p"] = permutation_p(self.x, self.y, COEFFICIENTS[name], groups) if tested else np.nan
        row |= self._one_subset(name, note)
        if name == "regret" and not note:
            row |= {"picked": self.label(self.x), "best": self.label(self.y)}
        return row | {"note": note}

    def _one_subset(self, name: str, note: str) -> dict[str, float]:
        repeats = np.empty((0, len(self.x))) if self.x_repeats is None else self.x_repeats
        values = np.empty(0)
        if not note and len(repeats) > 1:
            values = STATISTICS[name](repeats, np.broadcast_to(self.y, repeats.shape))
            values = values[np.isfinite(values)]
        summary = map(float, (values.mean(), values.min(), values.max())) if values.size else [np.nan] * 3
        keys = ("one_subset", "one_subset_low", "one_subset_high", "single_subsets", "single_subsets_defined")
        return dict(zip(keys, [*summary, len(repeats), len(values)], strict=True))

    def _note(self, name: str) -> str:
        if name in COEFFICIENTS:
            return undefined_reason(self.x, self.y)
        return "" if len(self.x) > 1 else "fewer than 2 architectures"

    def label(self, values: np.ndarray) -> str:
        """Name the architecture with the highest of these values."""
        family, name = self.architectures[int(values.argmax())]
        label = f"depth {name}" if isinstance(name, int | np.integer) else str(name)
        return label if len(set(self.families)) == 1 else f"{family}, {label}"


def difference(first: Comparison, second: Comparison) -> list[dict[str, Any]]:
    """Differences first − second of the coefficients of two comparisons over the same architectures.

    Both must come from one `Resampled`, or two of the same seed, so that their draws are paired.

    Returns
    -------
    list of dict
        One row per coefficient: names of both (`proxy`, `target`, `other_proxy`, `other_target`), `scope`, `n`,
        `statistic`, `first` and `second` (the two coefficients), `value` (first − second), `<kind>_low`, `<kind>_high`,
        `note`.

    Raises
    ------
    UserError
        The architectures differ.
    """
    if first.architectures != second.architectures:
        raise UserError(
            f"second = {second.proxy} ~ {second.target}: its architectures are not those of "
            f"{first.proxy} ~ {first.target}; a difference of coefficients needs the same ones"
        )
    note = undefined_reason(first.x, first.y) or undefined_reason(second.x, second.y)
    rows = []
    for name in COEFFICIENTS:
        row: dict[str, Any] = {key: getattr(first, key) for key in ("source", "dataset", "proxy", "target")}
        row |= {"other_proxy": second.proxy, "other_target": second.target, "scope": first.scope, "n": len(first.x)}
        row |= {"statistic": name, "first": first.value(name), "second": second.value(name)}
        row["value"] = row["first"] - row["second"]
        for kind in KINDS:
            low, high = np.nan, np.nan
            if kind in first.resampled and kind in second.resampled and not note:
                low, high = interval(row["value"], first.draws(name, kind) - second.draws(name, kind), bound=2.0)
            row |= {f"{kind}_low": low, f"{kind}_high": high}
        rows.append(row | {"note": note})
    return rows


class Resampled:
    """Mean accuracies of many sets of answers, as measured and resampled; one draw of images serves all of them.

    Training subsets are drawn R − 1 out of R with replacement (Rao and Wu 1988), which makes the variance of their mean
    unbiased: R out of R would understate it by 1/R, a fifth for five subsets.

    Parameters
    ----------
    answers : mapping of key → bool array of shape (repeats, test_images)
        Whether each test image was classified correctly; the same images in the same order for all.
    draws : mapping of key → label
        Keys of one label share one draw of repeats (the same training subsets); a network's seeds have a label of
        their own.
    accuracies : mapping of key → float, optional
        Reported accuracies that are not the mean of the answers (but a mean over epochs, for example); resamples are
        shifted by the difference.
    resamples, seed : int

    Attributes
    ----------
    mean : dict of key → float
    repeats : dict of key → array of shape (repeats,)
        The accuracy of each repeat.
    subsets, tests, both : dict of key → array of shape (resamples,)
        Resampled repeats; test images; both at once. A key with fewer than `MIN_REPEATS` repeats keeps its mean.
    """

    def __init__(
        self,
        answers: Mapping[Key, np.ndarray],
        draws: Mapping[Key, Key],
        *,
        accuracies: Mapping[Key, float] | None = None,
        resamples: int,
        seed: int,
    ) -> None:
        """Draw all resamples; see the class."""
        self.resamples = resamples
        self.bits = dict(answers)
        measured = {key: float(bits.mean()) for key, bits in self.bits.items()}
        self.mean = measured | dict(accuracies or {})
        shift = {key: self.mean[key] - measured[key] for key in measured}
        self.repeats = {key: bits.mean(axis=1) + shift[key] for key, bits in self.bits.items()}
        images, repeats = np.random.default_rng(seed).spawn(2)
        weights = self._repeat_weights(draws, repeats)
        self.subsets = {
            key: (weights[key] * self.repeats[key]).sum(axis=1) / weights[key][0].sum() for key in self.bits
        }
        self.tests: dict[Key, np.ndarray] = {}
        self.both: dict[Key, np.ndarray] = {}
        if self.bits:  # something was solved
            self._resample_tests(weights, images, shift)

    def comparison(
        self,
        x: Sequence[Key],
        y: Sequence[Key] = (),
        *,
        published: tuple[np.ndarray, np.ndarray] | None = None,
        **names: Any,
    ) -> Comparison:
        """Proxy x against target y.

        Parameters
        ----------
        x, y : sequence of keys
        published : (array of shape (n,), array of shape (resamples, n)), optional
            In place of y: accuracies without answers image by image, as published and resampled.
        **names
            The other attributes of the `Comparison`.
        """
        if published is None:
            target, tests, both = (_stack(values, y) for values in (self.mean, self.tests, self.both))
        else:
            target, tests, both = published[0], published[1], published[1]
        resampled = {"tests": (_stack(self.tests, x), tests)}
        if self._repeated(x):  # the target's own repeats are not resampled with the proxy's subsets
            resampled["subsets"] = (_stack(self.subsets, x), np.broadcast_to(target, (self.resamples, len(x))))
        if self._repeated(x) or (y and self._repeated(y)):
            resampled["both"] = (_stack(self.both, x), both)
        alike = len({len(self.bits[key]) for key in x}) == 1
        repeats = _stack(self.repeats, x) if alike else None
        return Comparison(x=_stack(self.mean, x), y=target, resampled=resampled, x_repeats=repeats, **names)

    def _repeated(self, keys: Sequence[Key]) -> bool:
        """Whether all of these have enough repeats to resample."""
        return all(len(self.bits[key]) >= MIN_REPEATS for key in keys)

    def _repeat_weights(self, draws: Mapping[Key, Key], rng: np.random.Generator) -> dict[Key, np.ndarray]:
        """How often each repeat is drawn, of shape (resamples, repeats); too few to resample are drawn once each."""
        labels = {key: (draws[key], len(bits)) for key, bits in self.bits.items()}
        drawn = {
            label: rng.multinomial(label[1] - 1, np.full(label[1], 1 / label[1]), size=self.resamples).astype(float)
            if label[1] >= MIN_REPEATS
            else np.ones((self.resamples, label[1]))
            for label in dict.fromkeys(labels.values())
        }
        return {key: drawn[label] for key, label in labels.items()}

    def _resample_tests(
        self, weights: Mapping[Key, np.ndarray], rng: np.random.Generator, shift: Mapping[Key, float]
    ) -> None:
        # Sums of integers, exact in float64: the same bytes however many threads BLAS has.
        columns = np.concatenate(list(self.bits.values())).T.astype(np.float64)
        n_test = len(columns)
        sizes = [min(_CHUNK, self.resamples - start) for start in range(0, self.resamples, _CHUNK)]
        drawn = (rng.multinomial(n_test, np.full(n_test, 1 / n_test), size=size) for size in sizes)
        hits = np.concatenate([counts.astype(np.float64) @ columns for counts in drawn])
        ends = np.cumsum([len(bits) for bits in self.bits.values()])
        for key, own in zip(self.bits, np.split(hits, ends[:-1], axis=1), strict=True):
            weight = weights[key]
            self.tests[key] = own.sum(axis=1) / (n_test * own.shape[1]) + shift[key]
            self.both[key] = (own * weight).sum(axis=1) / (n_test * weight[0].sum()) + shift[key]


def _stack(values: Mapping[Key, Any], keys: Sequence[Key]) -> np.ndarray:
    return np.stack([np.asarray(values[key]) for key in keys], axis=-1)
