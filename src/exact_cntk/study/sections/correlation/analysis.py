"""Does accuracy on few images rank architectures as accuracy on all of them does?

Each comparison has a proxy (cheap accuracies) and a target over the same architectures: first the columns of the
paper's Table 1, then this study's kernels, small training set against large, and against trained networks.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from exact_cntk.study.results import Study
from exact_cntk.study.show import references
from exact_cntk.study.show.markup import WHY_SINGULAR
from exact_cntk.study.stats.comparison import Comparison, Resampled
from exact_cntk.study.stats.differences import difference
from exact_cntk.study.stats.statistics import FEWEST, kendall, pearson, regret, remove_means, spearman

__all__ = [
    "Analysis",
    "Network",
    "analyse",
    "correlations",
    "kendall",
    "pearson",
    "regret",
    "remove_means",
    "spearman",
]

_PAPER_FAMILIES = {"flatten": "V", "gap": "GAP"}


@dataclass(frozen=True)
class Network:
    """A finite network trained on the full set, over several seeds.

    Attributes
    ----------
    family, readout : str
    filter_size, depth, train_images : int
    accuracy : float
        As the protocol reports it, a fraction; a mean over seeds.
    correct : bool array of shape (seeds, test_images)
        Which of the study's test images each seed's network classifies rightly.
    """

    family: str
    readout: str
    filter_size: int
    depth: int
    train_images: int
    accuracy: float
    correct: np.ndarray

    @property
    def key(self) -> tuple[str, str, int, int]:
        """Its place among the kernels' keys (family, kind, depth, training images)."""
        return self.family, "network", self.depth, self.train_images


@dataclass(frozen=True)
class Analysis:
    """All comparisons of a study, in the order of the tables.

    Attributes
    ----------
    paper : list of Comparison
        The 2K columns of the paper's Table 1 against its full-data columns.
    kernels : list of Comparison
        This study's kernels from every smaller training set against those from the largest.
    networks : list of Comparison
        Kernels of both sizes against trained networks of the same readout and depth.
    published : list of Comparison
        This study's kernels against the paper's columns, on the paper's images only.
    pairs : list of (Comparison, Comparison)
        Same architectures, another proxy or target: how much better does the first correlate?
    """

    paper: list[Comparison]
    kernels: list[Comparison] = field(default_factory=list)
    networks: list[Comparison] = field(default_factory=list)
    published: list[Comparison] = field(default_factory=list)
    pairs: list[tuple[Comparison, Comparison]] = field(default_factory=list)

    @property
    def own(self) -> list[Comparison]:
        """This study's comparisons."""
        return self.kernels + self.networks + self.published

    def table(self) -> pd.DataFrame:
        """One row a comparison and statistic; columns as in `Comparison.rows`."""
        return pd.DataFrame([row for comparison in self.paper + self.own for row in comparison.rows()])

    def differences(self) -> pd.DataFrame:
        """One row a pair and coefficient; columns as in `differences.difference`."""
        return pd.DataFrame([row for first, second in self.pairs for row in difference(first, second)])


def analyse(study: Study | None, networks: Sequence[Network] = (), *, resamples: int = 2000, seed: int = 0) -> Analysis:
    """Compare few training images with many: the paper's own columns, then this study's kernels and networks.

    Parameters
    ----------
    study : Study or None
        None gives the paper's part alone.
    networks : sequence of Network
    resamples, seed : int
        Of the bootstrap.
    """
    paper = paper_comparisons(resamples=resamples, seed=seed)
    pairs = list(_paper_pairs(paper))
    if study is None:
        return Analysis(paper, pairs=pairs)
    sample = resample(study, networks, resamples=resamples, seed=seed)
    against = list(_against_networks(study, networks, sample))
    return Analysis(
        paper,
        kernels=_small_against_full(study, sample) if len(study.train_sizes) > 1 else [],
        networks=against,
        published=_against_paper(study, sample, seed) if study.is_paper_data else [],
        pairs=pairs + list(_network_pairs(study, networks, sample)),
    )


def correlations(
    study: Study | None, networks: Sequence[Network] = (), *, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """The table of `analyse`, which has the same parameters."""
    return analyse(study, networks, resamples=resamples, seed=seed).table()


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


def _paper_pairs(paper: Sequence[Comparison]) -> Iterator[tuple[Comparison, Comparison]]:
    """Kernels against kernels and against networks, from the same 2K column."""
    for first, second in itertools.product(paper, repeat=2):
        same = (first.proxy, first.scope) == (second.proxy, second.scope)
        if same and first.target.startswith("CNTK") and second.target.startswith("CNN"):
            yield first, second


def resample(study: Study, networks: Sequence[Network] = (), *, resamples: int, seed: int) -> Resampled:
    """All kernels and networks of a study under one bootstrap, by (family, kind, depth, training images).

    A kernel that has no answer from some training subset of a size, being singular there, is left out at that size:
    its mean would be over other subsets than those of the kernels beside it. So is a subset on which all of them are.
    """
    repeats: dict[int, set[int]] = {}
    for *_, size, repeat in study.correct:
        repeats.setdefault(size, set()).add(repeat)
    bits: dict[tuple, np.ndarray] = {}
    for key in dict.fromkeys(problem[:4] for problem in study.correct):
        problems = [(*key, repeat) for repeat in sorted(repeats[key[3]])]
        if all(problem in study.correct for problem in problems):
            bits[key] = np.stack([study.correct[problem] for problem in problems])
    # repeat r of a size is the same images for every kernel; a network's seeds are its own
    draws: dict[tuple, tuple] = {key: ("kernels", key[3]) for key in bits}
    draws |= {network.key: network.key for network in networks}
    bits |= {network.key: network.correct for network in networks}
    reported = {network.key: network.accuracy for network in networks}
    return Resampled(bits, draws, accuracies=reported, resamples=resamples, seed=seed)


def left_out(study: Study) -> str:
    """How many subsets and kernels `resample` leaves out, and why; empty where none is."""
    solved = study.accuracy.assign(solved=study.accuracy.accuracy.notna())
    by_subset = solved.groupby(["train_images", "repeat"]).solved
    rest = solved[by_subset.transform("any")]  # a subset without any answer is none of those that kernels are held to
    by_kernel = rest.groupby(["family", "kind", "depth", "train_images"]).solved.all()
    counts = (
        (int((~by_subset.any()).sum()), f"of {by_subset.ngroups} training subsets, where no kernel has an answer"),
        (
            int((~by_kernel).sum()),
            f"of {len(by_kernel)} kernels (one for each number of training images) that have none from some subset",
        ),
    )
    parts = [f"{count} {of}" for count, of in counts if count]
    return f"Left out are {', and '.join(parts)}: {WHY_SINGULAR}." if parts else ""


def _against_networks(study: Study, networks: Sequence[Network], sample: Resampled) -> Iterator[Comparison]:
    """Kernels against networks of their readout across depths; then readouts pooled, with and without their means."""
    sizes = dict.fromkeys([study.train_sizes[0], study.train_sizes[-1]])
    for kind in study.accuracy.kind.unique():
        for size in sizes:
            members = _beside_networks(study, networks, kind, size, sample)
            for family in dict.fromkeys(network.family for _, network in members):
                chosen = [member for member in members if member[1].family == family]
                if len(chosen) >= FEWEST:
                    yield _network_comparison(study, sample, chosen, "across depths")
            if len({network.readout for _, network in members}) > 1:
                pooled = _network_comparison(study, sample, members, "pooled")
                yield from (pooled, pooled.without_family_means())


def _network_pairs(
    study: Study, networks: Sequence[Network], sample: Resampled
) -> Iterator[tuple[Comparison, Comparison]]:
    """What predicts networks better, and whether few images predict kernels better than networks."""
    small, full = study.train_sizes[0], study.train_sizes[-1]
    kinds = list(study.accuracy.kind.unique())
    sides = {
        (kind, size): _beside_networks(study, networks, kind, size, sample) for kind in kinds for size in (small, full)
    }
    if min(len({network.readout for _, network in side}) for side in sides.values()) < 2 or small == full:
        return
    for kind in kinds:
        both = _shared(sides[kind, small], sides[kind, full])
        if both is None:
            continue
        few, all_ = (_network_comparison(study, sample, side, "pooled") for side in both)
        keys = [key for key, _ in both[0]]
        kernels = sample.comparison(keys, [(*key[:3], full) for key in keys], **_names(few), target=all_.proxy)
        yield from _with_and_without_means(kernels, few)
        yield from _with_and_without_means(all_, few)
    if len(kinds) > 1:
        both = _shared(sides[kinds[0], small], sides[kinds[1], small])
        if both is not None:
            first, second = (_network_comparison(study, sample, side, "pooled") for side in both)
            yield from _with_and_without_means(first, second)


_Members = Sequence[tuple[tuple, Network]]


def _shared(first: _Members, second: _Members) -> tuple[_Members, _Members] | None:
    """Both sides with the networks alone that both have; None where these are not of two readouts."""
    keys = {network.key for _, network in first} & {network.key for _, network in second}
    one, other = ([member for member in side if member[1].key in keys] for side in (first, second))
    return (one, other) if len({network.readout for _, network in one}) > 1 else None


def _with_and_without_means(first: Comparison, second: Comparison) -> Iterator[tuple[Comparison, Comparison]]:
    yield first, second
    yield first.without_family_means(), second.without_family_means()


def _names(comparison: Comparison) -> dict[str, Any]:
    return {key: getattr(comparison, key) for key in ("source", "dataset", "proxy", "scope", "architectures")}


def _beside_networks(
    study: Study, networks: Sequence[Network], kind: str, size: int, sample: Resampled
) -> list[tuple[tuple, Network]]:
    """Kernels of one kind and size, each with the network of its readout, filters and depth."""
    kernels = study.accuracy[study.accuracy.kind == kind].drop_duplicates("family")
    families: dict[tuple[str, int], str] = {}
    # where two families have the same network, the paper's own goes before one with flips, say
    for row in sorted(kernels.itertuples(), key=lambda row: not row.kernel.startswith(("CNTK-", "CNN-GP-"))):
        families.setdefault((row.readout, row.filter_size), row.family)
    members = []
    for network in sorted(networks, key=lambda one: (one.readout, one.family, one.depth)):
        family = families.get((network.readout, network.filter_size))
        key = (family, kind, network.depth, size)
        if key in sample.bits and network.readout in _PAPER_FAMILIES:
            members.append((key, network))
    return members


def _network_comparison(
    study: Study, sample: Resampled, members: Sequence[tuple[tuple, Network]], scope: str
) -> Comparison:
    families, (_, kind, _, size) = {key[0] for key, _ in members}, members[0][0]
    rows = study.accuracy[study.accuracy.family.isin(families) & (study.accuracy.kind == kind)]
    readouts = dict.fromkeys(network.readout for _, network in members)
    networks = " and ".join(f"CNN-{_PAPER_FAMILIES[readout]}" for readout in readouts)
    return sample.comparison(
        [key for key, _ in members],
        [network.key for _, network in members],
        source=study.name,
        dataset=study.dataset,
        proxy=f"{' and '.join(dict.fromkeys(rows.kernel))}, n = {size}",
        target=f"{networks}, n = {members[0][1].train_images}",
        scope=scope,
        architectures=[(_PAPER_FAMILIES[one.readout], one.depth) for _, one in members],
    )


def _small_against_full(study: Study, sample: Resampled) -> list[Comparison]:
    """Every size against the largest: each kernel across depths; then families pooled, with and without their means."""
    *fewer, full = study.train_sizes
    return [one for small in fewer for one in _one_size_against_full(study, sample, small, full)]


def _one_size_against_full(study: Study, sample: Resampled, small: int, full: int) -> Iterator[Comparison]:
    """Kernel by kernel; then families pooled, kind by kind and all together."""
    solved = [key for key in sample.bits if key[3] == small and (*key[:3], full) in sample.bits]
    names = study.accuracy.drop_duplicates(["family", "kind"]).set_index(["family", "kind"]).kernel
    kernels = {key: sorted(k[:3] for k in solved if k[:2] == key) for key in names.index}
    kernels = {key: members for key, members in kernels.items() if len(members) >= FEWEST}
    for key, members in kernels.items():
        labelled = [(names[key], *member) for member in members]
        yield _compare(study, sample, (small, full), names[key], "across depths", labelled)
    pools = [[key for key in kernels if key[1] == kind] for kind in study.accuracy.kind.unique()]
    pools = [pool for pool in [*pools, list(kernels)] if len(pool) > 1]
    for pool in dict.fromkeys(map(tuple, pools)):
        name = " and ".join(names[key] for key in pool) if len(pool) < 3 else "all kernels"
        labelled = [(names[key], *member) for key in pool for member in kernels[key]]
        pooled = _compare(study, sample, (small, full), name, "pooled", labelled)
        yield from (pooled, pooled.without_family_means())


def _compare(
    study: Study, sample: Resampled, sizes: tuple[int, int], name: str, scope: str, members: list[tuple]
) -> Comparison:
    """Small against full for kernels given as (label, family, kind, depth)."""
    small, full = sizes
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


def _against_paper(study: Study, sample: Resampled, seed: int) -> list[Comparison]:
    """This study's kernels against the paper's columns of the same readout, over the depths that both have."""
    table = _binomially_resampled(references.table1(), sample.resamples, seed)
    table = table[table.source == "paper"]
    names = study.accuracy.drop_duplicates(["family", "kind"])
    comparisons = []
    for row in names[names.kernel.isin(["CNTK-V", "CNTK-GAP"])].itertuples():
        for size in study.train_sizes:
            for column, published in table[table.readout == row.readout].groupby("column", sort=False):
                known = [(row.family, row.kind, depth, size) in sample.bits for depth in published.depth]
                values = published[known]
                if len(values) < FEWEST:
                    continue
                comparisons.append(
                    sample.comparison(
                        [(row.family, row.kind, depth, size) for depth in values.depth],
                        values.accuracy.to_numpy(),
                        y_resampled=np.stack(list(values.resampled), axis=-1),
                        source=study.name,
                        dataset=study.dataset,
                        proxy=f"{row.kernel}, n = {size}",
                        target=f"{column} (paper)",
                        scope="across depths",
                        architectures=[(row.kernel, depth) for depth in values.depth],
                    )
                )
    return comparisons
