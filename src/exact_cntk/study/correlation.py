"""Does accuracy on few images rank architectures as accuracy on all of them does?

Each comparison has a proxy (cheap accuracies) and a target over the same architectures. Three statistics answer it:
Pearson's r, Spearman's ρ, and the regret of picking the architecture that the proxy likes best. Always with n, the
number of architectures. Intervals are percentiles of a bootstrap over test images (paired: one draw of images serves
all architectures, both sizes) and, where the small set was drawn several times, over training subsets.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from exact_cntk.study import references
from exact_cntk.study.results import Study

COVERAGE = 0.95
# Fewer repeats than this give no interval over subsets: resampling two values says nothing.
MIN_REPEATS = 3
# Resampled test sets at a time: 200 × 10,000 counts of 8 bytes are 16 MB.
_CHUNK = 200


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's r along the last axis; NaN where one side is constant.

    Parameters
    ----------
    x, y : arrays of shape (…, n)

    Returns
    -------
    array of shape (…,)
    """
    x = x - x.mean(axis=-1, keepdims=True)
    y = y - y.mean(axis=-1, keepdims=True)
    norm = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > 0, (x * y).sum(axis=-1) / norm, np.nan)


def spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's ρ along the last axis: Pearson's r of the ranks, ties at their mean rank."""
    return pearson(rankdata(x, axis=-1), rankdata(y, axis=-1))


def regret(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What choosing by the proxy costs, max y − y[argmax x] along the last axis; a tie goes to the first (shallowest).

    In the unit of y; 0 when the proxy picks the best architecture.
    """
    chosen = np.take_along_axis(y, x.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return y.max(axis=-1) - chosen


def remove_means(values: np.ndarray, groups: Sequence[Any]) -> np.ndarray:
    """Values less the mean of their group, along the last axis: what is left is the effect of depth."""
    values = np.array(values, dtype=float)
    labels = np.asarray(groups)
    for group in dict.fromkeys(groups):
        members = labels == group
        values[..., members] -= values[..., members].mean(axis=-1, keepdims=True)
    return values


_STATISTICS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "pearson": pearson,
    "spearman": spearman,
    "regret": regret,
}


@dataclass(frozen=True)
class Comparison:
    """One proxy against one target over n architectures.

    Attributes
    ----------
    source, dataset, proxy, target, scope : str
        Who computed it on what, and the names of the two sides; scope: "across depths", "pooled" or "pooled, family
        means removed".
    architectures : list of (family, depth)
    x, y : arrays of shape (n,)
        Accuracies of proxy and target, fractions.
    resampled : dict
        "subsets" and "tests" → pair of arrays of shape (resamples, n), the two sides under that bootstrap.
    """

    source: str
    dataset: str
    proxy: str
    target: str
    scope: str
    architectures: list[tuple[str, int]]
    x: np.ndarray
    y: np.ndarray
    resampled: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def without_family_means(self) -> "Comparison":
        """The same comparison with each family's mean removed from both sides."""
        families = [family for family, _ in self.architectures]
        resampled = {k: (remove_means(x, families), remove_means(y, families)) for k, (x, y) in self.resampled.items()}
        return Comparison(
            self.source,
            self.dataset,
            self.proxy,
            self.target,
            "pooled, family means removed",
            self.architectures,
            remove_means(self.x, families),
            remove_means(self.y, families),
            resampled,
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        """One row a statistic: its value and its intervals, NaN where there is none."""
        for name, statistic in _STATISTICS.items():
            if name == "regret" and self.scope.endswith("removed"):
                continue  # nobody chooses among depths averaged over families
            row: dict[str, Any] = {
                "source": self.source,
                "dataset": self.dataset,
                "proxy": self.proxy,
                "target": self.target,
                "scope": self.scope,
                "n": len(self.x),
                "statistic": name,
                "value": float(statistic(self.x, self.y)),
            }
            for kind in ("subsets", "tests"):
                low, high = _interval(statistic(*self.resampled[kind])) if kind in self.resampled else (np.nan, np.nan)
                row |= {f"{kind}_low": low, f"{kind}_high": high}
            if name == "regret":
                row |= {"picked": self._label(self.x), "best": self._label(self.y)}
            yield row

    def _label(self, values: np.ndarray) -> str:
        family, depth = self.architectures[int(values.argmax())]
        one_family = len({family for family, _ in self.architectures}) == 1
        return f"depth {depth}" if one_family else f"{family}, depth {depth}"


def correlations(study: Study | None, *, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """All comparisons: the paper's own columns first, then this study's.

    Parameters
    ----------
    study : Study or None
        None gives the paper's rows alone.
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        `source`, `dataset`, `proxy`, `target`, `scope`, `n`, `statistic` ("pearson" | "spearman" | "regret"), `value`
        (regret: fraction of the test set), `subsets_low`, `subsets_high`, `tests_low`, `tests_high` (95 % intervals),
        `picked` and `best` (rows of regret).
    """
    comparisons = paper_comparisons()
    if study is not None:
        comparisons += study_comparisons(study, resamples=resamples, seed=seed)
    return pd.DataFrame([row for comparison in comparisons for row in comparison.rows()])


def paper_comparisons() -> list[Comparison]:
    """The 2K columns of the paper's Table 1 against its full-data columns, each family and pooled."""
    table = references.table1()
    comparisons = [
        _paper_comparison(table, (readout,), model, f"CNTK-{name}-2K", f"{model.upper()}-{name}")
        for readout, name in (("flatten", "V"), ("gap", "GAP"))
        for model in ("cnn", "cntk")
    ]
    pooled = [_paper_comparison(table, ("flatten", "gap"), m, "CNTK-2K", m.upper()) for m in ("cnn", "cntk")]
    return comparisons + pooled + [comparison.without_family_means() for comparison in pooled]


def study_comparisons(study: Study, *, resamples: int, seed: int) -> list[Comparison]:
    """The study's smallest training set against its largest, and against the paper's columns on the paper's data."""
    sample = _Bootstrap(study, resamples, seed)
    comparisons = []
    if len(study.train_sizes) > 1:
        comparisons += _small_against_full(study, sample)
    if study.is_paper_data:
        comparisons += _against_paper(study, sample)
    return comparisons


class _Bootstrap:
    """Mean accuracies of every kernel and size, as measured and resampled; one draw serves all of them."""

    def __init__(self, study: Study, resamples: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.bits: dict[tuple, np.ndarray] = {}
        for family, kind, depth, size, _ in study.correct:
            key = (family, kind, depth, size)
            if key not in self.bits:
                repeats = sorted(problem for problem in study.correct if problem[:4] == key)
                self.bits[key] = np.stack([study.correct[problem] for problem in repeats])
        self.mean = {key: float(bits.mean()) for key, bits in self.bits.items()}
        self.tests = self._resample_tests(rng, resamples)
        self.subsets = self._resample_subsets(rng, resamples)

    def _resample_tests(self, rng: np.random.Generator, resamples: int) -> dict[tuple, np.ndarray]:
        keys = list(self.bits)
        # Sums of integers, exact in float64: the same bytes however many threads BLAS has.
        hits = np.stack([self.bits[key].sum(axis=0) for key in keys], axis=1).astype(np.float64)
        n_test = len(hits)
        answers = n_test * np.array([len(self.bits[key]) for key in keys])
        drawn = []
        for start in range(0, resamples, _CHUNK):
            counts = rng.multinomial(n_test, np.full(n_test, 1 / n_test), size=min(_CHUNK, resamples - start))
            drawn.append(counts @ hits / answers)
        accuracies = np.concatenate(drawn)
        return {key: accuracies[:, i] for i, key in enumerate(keys)}

    def _resample_subsets(self, rng: np.random.Generator, resamples: int) -> dict[tuple, np.ndarray]:
        # The same repeats for all kernels of a size: repeat r is the same images for each of them.
        draws: dict[tuple[int, int], np.ndarray] = {}
        resampled = {}
        for key, bits in self.bits.items():
            repeats = bits.shape[0]
            if repeats < MIN_REPEATS:
                continue
            size = (key[3], repeats)
            if size not in draws:
                draws[size] = rng.integers(repeats, size=(resamples, repeats))
            resampled[key] = bits.mean(axis=1)[draws[size]].mean(axis=1)
        return resampled


def _small_against_full(study: Study, sample: _Bootstrap) -> list[Comparison]:
    """Each kernel across depths; then families pooled, kind by kind and all together, with and without their means."""
    small, full = study.train_sizes[0], study.train_sizes[-1]
    solved = [key for key in sample.bits if key[3] == small and (*key[:3], full) in sample.bits]
    names = study.accuracy.drop_duplicates(["family", "kind"]).set_index(["family", "kind"]).kernel
    kernels = {key: sorted(k[:3] for k in solved if k[:2] == key) for key in names.index}
    kernels = {key: members for key, members in kernels.items() if len(members) > 2}
    comparisons = [
        _compare(study, sample, names[key], "across depths", [(names[key], *member) for member in members])
        for key, members in kernels.items()
    ]
    pools = [[key for key in kernels if key[1] == kind] for kind in study.accuracy.kind.unique()]
    pools = [pool for pool in [*pools, list(kernels)] if len(pool) > 1]
    for pool in dict.fromkeys(map(tuple, pools)):
        name = " and ".join(names[key] for key in pool) if len(pool) < 3 else "all kernels"
        members = [(names[key], *member) for key in pool for member in kernels[key]]
        pooled = _compare(study, sample, name, "pooled", members)
        comparisons += [pooled, pooled.without_family_means()]
    return comparisons


def _compare(study: Study, sample: _Bootstrap, name: str, scope: str, members: list[tuple]) -> Comparison:
    """Small against full for kernels given as (label, family, kind, depth)."""
    small, full = study.train_sizes[0], study.train_sizes[-1]
    x, y = [(*member[1:], small) for member in members], [(*member[1:], full) for member in members]
    resampled = {"tests": (_stack(sample.tests, x), _stack(sample.tests, y))}
    if all(key in sample.subsets for key in x):
        drawn = _stack(sample.subsets, x)
        resampled["subsets"] = (drawn, np.broadcast_to(_stack(sample.mean, y), drawn.shape))
    return Comparison(
        study.name,
        study.dataset,
        f"{name}, n = {small}",
        f"{name}, n = {full}",
        scope,
        [(member[0], member[3]) for member in members],
        _stack(sample.mean, x),
        _stack(sample.mean, y),
        resampled,
    )


def _against_paper(study: Study, sample: _Bootstrap) -> list[Comparison]:
    """This study's kernels against the paper's columns of the same readout, over the depths that both have."""
    table = references.table1()
    table = table[table.source == "paper"]
    names = study.accuracy.drop_duplicates(["family", "kind"])
    comparisons = []
    for row in names[names.kernel.isin(["CNTK-V", "CNTK-GAP"])].itertuples():
        for size in study.train_sizes:
            for column, values in table[table.readout == row.readout].groupby("column", sort=False):
                keys = [(row.family, row.kind, depth, size) for depth in values.depth]
                known = [key in sample.bits for key in keys]
                if sum(known) < 3:
                    continue
                keys, y = [key for key in keys if key in sample.bits], values.accuracy.to_numpy()[known]
                x_tests = _stack(sample.tests, keys)
                comparisons.append(
                    Comparison(
                        study.name,
                        study.dataset,
                        f"{row.kernel}, n = {size}",
                        f"{column} (paper)",
                        "across depths",
                        [(row.kernel, key[2]) for key in keys],
                        _stack(sample.mean, keys),
                        y,
                        {"tests": (x_tests, np.broadcast_to(y, x_tests.shape))},
                    )
                )
    return comparisons


def _paper_comparison(table: pd.DataFrame, readouts: Sequence[str], model: str, proxy: str, target: str) -> Comparison:
    v2 = table[(table.source == "paper") & table.readout.isin(readouts)]
    small = v2[(v2.model == "cntk") & (v2.train_images == 2000)].set_index(["readout", "depth"]).accuracy
    full = v2[(v2.model == model) & (v2.train_images == 50000)].set_index(["readout", "depth"]).accuracy
    family = {"flatten": "V", "gap": "GAP"}
    return Comparison(
        "paper",
        "CIFAR-10",
        proxy,
        target,
        "across depths" if len(readouts) == 1 else "pooled",
        [(family[readout], depth) for readout, depth in small.index],
        small.to_numpy(),
        full.loc[small.index].to_numpy(),
    )


def _stack(values: dict[tuple, Any], keys: Sequence[tuple]) -> np.ndarray:
    return np.stack([np.asarray(values[key]) for key in keys], axis=-1)


def _interval(values: np.ndarray) -> tuple[float, float]:
    """Percentile interval of the resampled statistic; NaN when most of the resamples leave it undefined."""
    finite = values[np.isfinite(values)]
    if finite.size < values.size / 2:
        return np.nan, np.nan
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)
