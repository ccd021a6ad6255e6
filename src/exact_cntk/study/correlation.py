"""Does accuracy on few images rank architectures as accuracy on all of them does?

Each comparison has a proxy (cheap accuracies) and a target over the same architectures: first the columns of the
paper's Table 1, then this study's kernels, small training set against large, and against trained networks.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from exact_cntk.study import references
from exact_cntk.study.comparison import Comparison, Resampled
from exact_cntk.study.results import Study
from exact_cntk.study.statistics import kendall, pearson, regret, remove_means, spearman

__all__ = ["Comparison", "correlations", "kendall", "pearson", "regret", "remove_means", "spearman"]


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
        The columns of `Comparison.rows`.
    """
    comparisons = paper_comparisons(resamples=resamples, seed=seed)
    if study is not None:
        comparisons += study_comparisons(study, resamples=resamples, seed=seed)
    return pd.DataFrame([row for comparison in comparisons for row in comparison.rows()])


def paper_comparisons(*, resamples: int = 2000, seed: int = 0) -> list[Comparison]:
    """The 2K columns of the paper's Table 1 against its full-data columns: each readout, pooled, family means removed.

    CNN columns of the paper's first version are targets as well. The paper gives no answers image by image, only
    accuracies over its test images: their intervals come from binomial resampling, each accuracy on its own, as if
    every one had been measured on other images. That is wider than pairing would make them.
    """
    table = _binomially_resampled(references.table1(), resamples, seed)
    targets = [("cnn", "paper", "CNN-{}"), ("cntk", "paper", "CNTK-{}"), ("cnn", "paper-v1", "CNN-{} (v1)")]
    comparisons = [
        _paper_comparison(table, (readout,), model, source, f"CNTK-{name}-2K", target.format(name))
        for readout, name in _PAPER_FAMILIES.items()
        for model, source, target in targets
    ]
    pooled = [
        _paper_comparison(table, tuple(_PAPER_FAMILIES), model, source, "CNTK-2K", target.replace("-{}", ""))
        for model, source, target in targets
    ]
    return comparisons + pooled + [comparison.without_family_means() for comparison in pooled]


_PAPER_FAMILIES = {"flatten": "V", "gap": "GAP"}


def _binomially_resampled(table: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """The table with a column `resampled`, of arrays of shape (resamples,)."""
    n_test = references.read()["table1"]["test_images"]
    rng = np.random.default_rng(seed)
    return table.assign(resampled=[rng.binomial(n_test, p, size=resamples) / n_test for p in table.accuracy])


def _paper_comparison(
    table: pd.DataFrame, readouts: Sequence[str], model: str, source: str, proxy: str, target: str
) -> Comparison:
    table = table[table.readout.isin(readouts)].set_index(["readout", "depth"])
    small = table[(table.source == "paper") & (table.model == "cntk") & (table.train_images == 2000)]
    full = table[(table.source == source) & (table.model == model) & (table.train_images == 50000)].loc[small.index]
    return Comparison(
        "paper",
        references.read()["table1"]["dataset"],
        proxy,
        target,
        "across depths" if len(readouts) == 1 else "pooled",
        [(_PAPER_FAMILIES[readout], depth) for readout, depth in small.index],
        small.accuracy.to_numpy(),
        full.accuracy.to_numpy(),
        {"tests": (np.stack(list(small.resampled), axis=-1), np.stack(list(full.resampled), axis=-1))},
    )


def study_comparisons(study: Study, *, resamples: int, seed: int) -> list[Comparison]:
    """The study's smallest training set against its largest, and against the paper's columns on the paper's data."""
    sample = resample(study, resamples=resamples, seed=seed)
    comparisons = []
    if len(study.train_sizes) > 1:
        comparisons += _small_against_full(study, sample)
    if study.is_paper_data:
        comparisons += _against_paper(study, sample)
    return comparisons


def resample(study: Study, *, resamples: int, seed: int) -> Resampled:
    """All kernels of a study under one bootstrap, by (family, kind, depth, training images)."""
    bits: dict[tuple, np.ndarray] = {}
    for family, kind, depth, size, _ in study.correct:
        key = (family, kind, depth, size)
        if key not in bits:
            repeats = sorted(problem for problem in study.correct if problem[:4] == key)
            bits[key] = np.stack([study.correct[problem] for problem in repeats])
    # repeat r of a size is the same images for every kernel
    draws = {key: ("kernels", key[3]) for key in bits}
    return Resampled(bits, draws, resamples=resamples, seed=seed)


def _small_against_full(study: Study, sample: Resampled) -> list[Comparison]:
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


def _compare(study: Study, sample: Resampled, name: str, scope: str, members: list[tuple]) -> Comparison:
    """Small against full for kernels given as (label, family, kind, depth)."""
    small, full = study.train_sizes[0], study.train_sizes[-1]
    return sample.comparison(
        [(*member[1:], small) for member in members],
        [(*member[1:], full) for member in members],
        source=study.name,
        dataset=study.dataset,
        proxy=f"{name}, n = {small}",
        target=f"{name}, n = {full}",
        scope=scope,
        architectures=[(member[0], member[3]) for member in members],
    )


def _against_paper(study: Study, sample: Resampled) -> list[Comparison]:
    """This study's kernels against the paper's columns of the same readout, over the depths that both have."""
    table = references.table1()
    table = table[table.source == "paper"]
    names = study.accuracy.drop_duplicates(["family", "kind"])
    comparisons = []
    for row in names[names.kernel.isin(["CNTK-V", "CNTK-GAP"])].itertuples():
        for size in study.train_sizes:
            for column, values in table[table.readout == row.readout].groupby("column", sort=False):
                published = values.set_index("depth").accuracy
                keys = [(row.family, row.kind, depth, size) for depth in published.index]
                keys = [key for key in keys if key in sample.bits]
                if len(keys) < 3:
                    continue
                comparisons.append(
                    sample.comparison(
                        keys,
                        published.loc[[key[2] for key in keys]].to_numpy(),
                        source=study.name,
                        dataset=study.dataset,
                        proxy=f"{row.kernel}, n = {size}",
                        target=f"{column} (paper)",
                        scope="across depths",
                        architectures=[(row.kernel, key[2]) for key in keys],
                    )
                )
    return comparisons
