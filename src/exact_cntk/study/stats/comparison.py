"""A cheap accuracy (proxy) against an expensive one (target) over the same architectures, with its uncertainty.

For arrays of right and wrong answers the whole analysis is::

    comparison = compare(small, full, architectures=names, families=families)
    rows = comparison.rows() + comparison.without_family_means().rows()

Two things are random in a measured accuracy: which images were trained on and which were tested on. Both are resampled
in pairs: one draw of test images serves all architectures and both sides, one draw of training subsets all
architectures. The architectures are not resampled: they are the ones that are asked about, and a permutation test says
how far so few could agree by chance.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from exact_cntk.errors import UserError
from exact_cntk.study.stats.statistics import (
    COEFFICIENTS,
    interval,
    percentiles,
    permutation_p,
    regret,
    remove_means,
    undefined_reason,
)

# What names one set of answers, or one draw of repeats.
Key = Any
# What is resampled: the proxy's training subsets; test images; all at once, with the target's subsets or seeds.
KINDS = ("subsets", "tests", "both")
# Fewer repeats than this are not resampled: two values say nothing of a spread.
MIN_REPEATS = 3
# Resampled test sets at a time: 200 × 10,000 counts of 8 bytes are 16 MB.
_CHUNK = 200


@dataclass(frozen=True)
class Comparison:
    """One proxy against one target over n architectures.

    Attributes
    ----------
    source, dataset, proxy, target, scope : str
        Who computed it on what, and the names of the two sides; scope says over which architectures.
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

    def without_family_means(self) -> "Comparison":
        """The same comparison with each family's mean removed from both sides."""
        families = self.families
        return replace(
            self,
            scope=f"{self.scope}, family means removed",
            x=remove_means(self.x, families),
            y=remove_means(self.y, families),
            resampled={
                k: (remove_means(x, families), remove_means(y, families)) for k, (x, y) in self.resampled.items()
            },
            x_repeats=None if self.x_repeats is None else remove_means(self.x_repeats, families),
        )

    def rows(self) -> list[dict[str, Any]]:
        """One row a statistic: value, intervals of 95 %, p-value and what a single subset gives.

        Returns
        -------
        list of dict
            `source`, `dataset`, `proxy`, `target`, `scope`, `n`, `statistic` ("pearson" | "spearman" | "kendall" |
            "regret"; the last is a fraction of the test set), `value`; `<kind>_low` and `<kind>_high` for each of
            `KINDS`; `p` (one-sided permutation test, coefficients only; within families where their means are
            removed); `one_subset`, `one_subset_low`, `one_subset_high` (mean and range of the statistic over single
            training subsets, empty for fewer than two), `single_subsets` (how many there are) and
            `single_subsets_defined` (on how many the statistic is defined: the mean is over these); `picked` and
            `best` (rows of regret, which are left out where family means are removed: nobody chooses among averages);
            `note` (why a value is NaN, else empty).
        """
        return [dict(row) for row in self._rows]

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        names = [*COEFFICIENTS, *(() if self.within_families else ("regret",))]
        return [self._row(name) for name in names]

    def value(self, statistic: str) -> float:
        """One statistic of the measured accuracies; NaN where it is not defined."""
        return float("nan") if self._note(statistic) else float(_function(statistic)(self.x, self.y))

    def draws(self, statistic: str, kind: str) -> np.ndarray:
        """The statistic under a bootstrap of `KINDS`, of shape (resamples,)."""
        return _function(statistic)(*self.resampled[kind])

    def interval(self, statistic: str, kind: str) -> tuple[float, float]:
        """The interval of 95 % of a statistic under a bootstrap of `KINDS`; NaN where one of them is not known."""
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
        keys = ("one_subset", "one_subset_low", "one_subset_high")
        counts = {"single_subsets": 0 if self.x_repeats is None else len(self.x_repeats), "single_subsets_defined": 0}
        if note or self.x_repeats is None or len(self.x_repeats) < 2:
            return dict.fromkeys(keys, np.nan) | counts
        values = _function(name)(self.x_repeats, np.broadcast_to(self.y, self.x_repeats.shape))
        values = values[np.isfinite(values)]
        counts["single_subsets_defined"] = len(values)
        if not values.size:
            return dict.fromkeys(keys, np.nan) | counts
        return dict(zip(keys, map(float, (values.mean(), values.min(), values.max())), strict=True)) | counts

    def _note(self, name: str) -> str:
        if name in COEFFICIENTS:
            return undefined_reason(self.x, self.y)
        return "" if len(self.x) > 1 else "fewer than 2 architectures"

    def label(self, values: np.ndarray) -> str:
        """Name the architecture with the highest of these values."""
        family, name = self.architectures[int(values.argmax())]
        label = f"depth {name}" if isinstance(name, int | np.integer) else str(name)
        return label if len(set(self.families)) == 1 else f"{family}, {label}"


def compare(
    small: np.ndarray,
    full: np.ndarray,
    *,
    architectures: Sequence[Hashable],
    families: Sequence[str] | None = None,
    source: str = "",
    dataset: str = "",
    proxy: str = "small",
    target: str = "full",
    scope: str = "pooled",
    full_repeats: str = "subsets",
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Answers from few training images against answers from all of them.

    Parameters
    ----------
    small : bool array of shape (architectures, repeats, test_images)
        Whether each test image was classified rightly from training subset r; repeat r is the same subset for all
        architectures.
    full : bool array of shape (architectures, test_images) or (architectures, repeats, test_images)
        The same from the full training set, on the same test images in the same order.
    architectures : sequence
        Their names: depths (int) or texts, one a row of `small`. A tie between picks goes to the first, so list the
        cheapest first.
    families : sequence of str, optional
        What `without_family_means` averages over, one an architecture; default: one family.
    source, dataset, proxy, target, scope : str
        Names for the rows.
    full_repeats : {"subsets", "seeds"}
        What the repeats of `full` are: training subsets, shared by all architectures, or seeds, each network's own.
    resamples, seed : int
        Of the bootstrap; the same seed draws the same test images and subsets in every call.

    Raises
    ------
    UserError
        Shapes or lengths that do not fit, naming the argument.
    """
    if full_repeats not in ("subsets", "seeds"):
        raise UserError(f"full_repeats is {full_repeats!r}; allowed: 'subsets', 'seeds'")
    small, full = np.asarray(small), np.asarray(full)
    full = full[:, None, :] if full.ndim == 2 else full
    _check_shapes(small, full, architectures, families)
    answers: dict[Key, np.ndarray] = {("small", i): bits for i, bits in enumerate(small)}
    answers |= {("full", i): bits for i, bits in enumerate(full)}
    draws: dict[Key, Key] = {("small", i): "small" for i in range(len(small))}
    draws |= {("full", i): ("full", i if full_repeats == "seeds" else 0) for i in range(len(full))}
    sample = Resampled(answers, draws, resamples=resamples, seed=seed)
    labels = [""] * len(small) if families is None else families
    names: dict[str, Any] = {"source": source, "dataset": dataset, "proxy": proxy, "target": target, "scope": scope}
    return sample.comparison(
        [("small", i) for i in range(len(small))],
        [("full", i) for i in range(len(full))],
        architectures=list(zip(labels, architectures, strict=True)),
        **names,
    )


def _check_shapes(
    small: np.ndarray, full: np.ndarray, architectures: Sequence[Hashable], families: Sequence[str] | None
) -> None:
    for name, answers in (("small", small), ("full", full)):
        if answers.dtype != bool:
            raise UserError(f"{name} holds {answers.dtype}; allowed is bool: whether each test image was right")
    if small.ndim != 3:
        raise UserError(f"small has shape {small.shape}; allowed: (architectures, repeats, test_images)")
    if full.ndim != 3 or full.shape[0] != small.shape[0] or full.shape[2] != small.shape[2]:
        raise UserError(
            f"full has {full.shape[0]} architectures and {full.shape[-1]} test images; "
            f"allowed: those of small, {small.shape[0]} and {small.shape[2]}"
        )
    for name, labels in (("architectures", architectures), ("families", families)):
        if labels is not None and len(labels) != len(small):
            raise UserError(f"{name} has {len(labels)} entries; allowed: one for each of the {len(small)} of small")


class Resampled:
    """Mean accuracies of many sets of answers, as measured and resampled; one draw of images serves all of them.

    Training subsets are drawn R − 1 out of R with replacement (Rao and Wu 1988), which makes the variance of their mean
    unbiased: R out of R would understate it by 1/R, a fifth for five subsets.

    Parameters
    ----------
    answers : mapping of key → bool array of shape (repeats, test_images)
        Whether each test image was classified rightly; the same images in the same order for all.
    draws : mapping of key → label
        Keys of one label share one draw of repeats (the same training subsets); a seed's label is its network's own.
    accuracies : mapping of key → float, optional
        What was reported where that is not the mean of the answers (a mean over epochs, say); resamples are shifted
        by the difference.
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
        self.tests, self.both = {}, {}
        for key, (tests, both) in self._resample_tests(weights, images).items():
            self.tests[key], self.both[key] = tests + shift[key], both + shift[key]

    def comparison(
        self,
        x: Sequence[Key],
        y: Sequence[Key] | np.ndarray,
        *,
        y_resampled: np.ndarray | None = None,
        **names: Any,
    ) -> Comparison:
        """Proxy x against target y.

        Parameters
        ----------
        x : sequence of keys
        y : sequence of keys, or array of shape (n,)
            An array holds published accuracies, whose answers image by image are not known.
        y_resampled : array of shape (resamples, n), optional
            Of published accuracies; by default they are taken as they are.
        **names
            The other attributes of the `Comparison`.
        """
        shape = (self.resamples, len(x))
        published, keys = (y, []) if isinstance(y, np.ndarray) else (None, list(y))
        target = _stack(self.mean, keys) if published is None else published
        kinds = ["tests"]
        if self._repeated(x):
            kinds.append("subsets")
        if self._repeated(x) or (keys and self._repeated(keys)):
            kinds.append("both")
        resampled = {}
        for kind in kinds:
            if kind == "subsets":  # the target's own repeats are not resampled with the proxy's subsets
                side = np.broadcast_to(target, shape)
            elif published is None:
                side = _stack(getattr(self, kind), keys)
            else:
                side = np.broadcast_to(target, shape) if y_resampled is None else y_resampled
            resampled[kind] = (_stack(getattr(self, kind), x), side)
        alike = len({len(self.bits[key]) for key in x}) == 1
        repeats = _stack(self.repeats, x) if alike else None
        return Comparison(x=_stack(self.mean, x), y=target, resampled=resampled, x_repeats=repeats, **names)

    def _repeated(self, keys: Sequence[Key]) -> bool:
        """Whether all of these have enough repeats to resample."""
        return all(len(self.bits[key]) >= MIN_REPEATS for key in keys)

    def _repeat_weights(self, draws: Mapping[Key, Key], rng: np.random.Generator) -> dict[Key, np.ndarray]:
        """How often each repeat is drawn, of shape (resamples, repeats); a key with too few has them once each."""
        drawn: dict[Key, np.ndarray] = {}
        weights = {}
        for key, bits in self.bits.items():
            repeats = len(bits)
            if repeats < MIN_REPEATS:
                weights[key] = np.ones((self.resamples, repeats))
                continue
            label = (draws[key], repeats)
            if label not in drawn:
                counts = rng.multinomial(repeats - 1, np.full(repeats, 1 / repeats), size=self.resamples)
                drawn[label] = counts.astype(float)
            weights[key] = drawn[label]
        return weights

    def _resample_tests(
        self, weights: Mapping[Key, np.ndarray], rng: np.random.Generator
    ) -> dict[Key, tuple[np.ndarray, np.ndarray]]:
        keys = list(self.bits)
        if not keys:  # nothing was solved
            return {}
        # Sums of integers, exact in float64: the same bytes however many threads BLAS has.
        columns = np.concatenate([self.bits[key] for key in keys]).T.astype(np.float64)
        edges = np.cumsum([0, *(len(self.bits[key]) for key in keys)])
        n_test = len(columns)
        parts = []
        for start in range(0, self.resamples, _CHUNK):
            size = min(_CHUNK, self.resamples - start)
            parts.append(rng.multinomial(n_test, np.full(n_test, 1 / n_test), size=size).astype(np.float64) @ columns)
        hits = np.concatenate(parts)
        resampled = {}
        for key, low, high in zip(keys, edges[:-1], edges[1:], strict=True):
            own, weight = hits[:, low:high], weights[key]
            both = (own * weight).sum(axis=1) / (n_test * weight[0].sum())
            resampled[key] = (own.sum(axis=1) / (n_test * (high - low)), both)
        return resampled


def _function(statistic: str) -> Any:
    return regret if statistic == "regret" else COEFFICIENTS[statistic]


def _stack(values: Mapping[Key, Any], keys: Sequence[Key]) -> np.ndarray:
    return np.stack([np.asarray(values[key]) for key in keys], axis=-1)
