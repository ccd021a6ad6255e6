"""Does accuracy with few training images rank architectures as accuracy with all of them does?

Each comparison has a proxy (cheap accuracies) and a target over the same architectures: first the columns of the
paper's Table 1, then this study's kernels, small training set against large, and against trained networks.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from exact_cntk.study.results import Study, unsolved
from exact_cntk.study.show import references
from exact_cntk.study.stats.comparison import Comparison, Resampled, difference
from exact_cntk.study.stats.statistics import FEWEST

_PAPER_FAMILIES = {"flatten": "V", "gap": "GAP"}
# Targets in the paper's Table 1: model, source, and name of the column.
_PAPER_TARGETS = (("cnn", "paper", "CNN-{}"), ("cntk", "paper", "CNTK-{}"), ("cnn", "paper-v1", "CNN-{} (v1)"))

_Pair = tuple[Comparison, Comparison]


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
        Which of the study's test images the network of each seed classifies correctly.
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
        """Its key, like those of kernels (family, kind, depth, training images)."""
        return self.family, "network", self.depth, self.train_images


_Members = Sequence[tuple[tuple, Network]]  # keys of kernels, each with the network of the same architecture


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
        This study's kernels against the paper's columns, for the paper's images only.
    pairs : list of (Comparison, Comparison)
        Same architectures, another proxy or target: how much better does the first correlate?
    """

    paper: list[Comparison]
    kernels: list[Comparison] = field(default_factory=list)
    networks: list[Comparison] = field(default_factory=list)
    published: list[Comparison] = field(default_factory=list)
    pairs: list[_Pair] = field(default_factory=list)

    @property
    def own(self) -> list[Comparison]:
        """This study's comparisons."""
        return self.kernels + self.networks + self.published

    def table(self) -> pd.DataFrame:
        """One row per comparison and statistic; columns as in `Comparison.rows`."""
        return pd.DataFrame([row for comparison in self.paper + self.own for row in comparison.rows()])

    def differences(self) -> pd.DataFrame:
        """One row per pair and coefficient; columns as in `difference`."""
        return pd.DataFrame([row for pair in self.pairs for row in difference(*pair)])


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
    if study is None:
        return Analysis(paper, pairs=_paper_pairs(paper))
    sample = resample(study, networks, resamples=resamples, seed=seed)
    return Analysis(
        paper,
        kernels=_small_against_full(study, sample),
        networks=list(_against_networks(study, networks, sample)),
        published=list(_against_paper(study, sample, seed)) if study.is_paper_data else [],
        pairs=_paper_pairs(paper) + list(_network_pairs(study, networks, sample)),
    )


def paper_comparisons(*, resamples: int = 2000, seed: int = 0) -> list[Comparison]:
    """The 2K columns of the paper's Table 1 against its full-data columns: each readout, pooled, family means removed.

    CNN columns of the paper's first version are targets as well. The paper gives accuracies but no answers image by
    image: intervals come from binomial resampling of each accuracy on its own, which is wider than resampling in pairs.
    """
    table = _binomially_resampled(resamples, seed)
    groups = [*([readout] for readout in _PAPER_FAMILIES), list(_PAPER_FAMILIES)]
    comparisons = [_paper_comparison(table, readouts, *target) for readouts in groups for target in _PAPER_TARGETS]
    return comparisons + [c.without_family_means() for c in comparisons if c.scope == "pooled"]


def _binomially_resampled(resamples: int, seed: int) -> pd.DataFrame:
    """Table 1 with a column `resampled`, of arrays of shape (resamples,)."""
    table, n_test = references.table1(), references.read()["table1"]["test_images"]
    rng = np.random.default_rng(seed)
    return table.assign(resampled=[rng.binomial(n_test, p, size=resamples) / n_test for p in table.accuracy])


def _paper_comparison(table: pd.DataFrame, readouts: list[str], model: str, source: str, target: str) -> Comparison:
    table = table[table.readout.isin(readouts)].set_index(["readout", "depth"])
    small = table[(table.source == "paper") & (table.model == "cntk") & (table.train_images == 2000)]
    full = table[(table.source == source) & (table.model == model) & (table.train_images == 50000)].loc[small.index]
    family = _PAPER_FAMILIES[readouts[0]] if len(readouts) == 1 else ""
    return Comparison(
        "paper",
        references.read()["table1"]["dataset"],
        f"CNTK-{family}-2K" if family else "CNTK-2K",
        target.format(family).replace("- ", " ").removesuffix("-"),
        "across depths" if family else "pooled",
        [(_PAPER_FAMILIES[readout], depth) for readout, depth in small.index],
        small.accuracy.to_numpy(),
        full.accuracy.to_numpy(),
        {"tests": (np.stack(list(small.resampled), axis=-1), np.stack(list(full.resampled), axis=-1))},
    )


def _paper_pairs(paper: Sequence[Comparison]) -> list[_Pair]:
    """Kernels against kernels and against networks, from the same 2K column."""
    return [
        (first, second)
        for first, second in itertools.product(paper, repeat=2)
        if (first.proxy, first.scope) == (second.proxy, second.scope)
        and first.target.startswith("CNTK")
        and second.target.startswith("CNN")
    ]


def resample(study: Study, networks: Sequence[Network] = (), *, resamples: int, seed: int) -> Resampled:
    """All kernels and networks of a study under one bootstrap, by (family, kind, depth, training images).

    A kernel that is singular on some training subset of a size is left out at that size, because its mean would be over
    other subsets than those of the other kernels. A subset on which all kernels are singular is left out itself.
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
    """How many subsets and kernels `resample` leaves out, and why; empty if there are none."""
    solved = study.accuracy.assign(solved=study.accuracy.accuracy.notna())
    by_subset = solved.groupby(["train_images", "repeat"]).solved
    rest = solved[by_subset.transform("any")]  # of a subset without any answer no kernel needs one
    by_kernel = rest.groupby(["family", "kind", "depth", "train_images"]).solved.all()
    counts = {
        f"of {by_subset.ngroups} training subsets (no kernel has an answer)": (~by_subset.any()).sum(),
        f"of {len(by_kernel)} pairs of kernel and training-set size (no answer from some subset)": (~by_kernel).sum(),
    }
    return left_out_note(counts, unsolved(study.accuracy)[1])


def left_out_note(counts: dict[str, int], why: str) -> str:
    """A sentence with the counts that are not 0; empty if all are."""
    parts = [f"{count} {of}" for of, count in counts.items() if count]
    return f"Left out: {' and '.join(parts)}: {why}." if parts else ""


def _against_networks(study: Study, networks: Sequence[Network], sample: Resampled) -> Iterator[Comparison]:
    """Kernels against networks of their readout across depths; then readouts pooled, with and without their means."""
    for kind, size in itertools.product(study.accuracy.kind.unique(), _ends(study)):
        members = _with_networks(study, networks, kind, size, sample)
        for family in dict.fromkeys(network.family for _, network in members):
            chosen = [member for member in members if member[1].family == family]
            if len(chosen) >= FEWEST:
                yield _network_comparison(study, sample, chosen, "across depths")
        if _several_readouts(members):
            pooled = _network_comparison(study, sample, members, "pooled")
            yield from (pooled, pooled.without_family_means())


def _network_pairs(study: Study, networks: Sequence[Network], sample: Resampled) -> Iterator[_Pair]:
    """What predicts networks better, and whether few images predict kernels better than networks."""
    small, full = study.train_sizes[0], study.train_sizes[-1]
    kinds = list(study.accuracy.kind.unique())
    sides = {key: _with_networks(study, networks, *key, sample) for key in itertools.product(kinds, _ends(study))}
    if small == full or not all(map(_several_readouts, sides.values())):
        return
    pairs: list[_Pair] = []
    for kind in kinds:
        few_members, all_members = _shared(sides[kind, small], sides[kind, full])
        if _several_readouts(few_members):
            few, all_ = (_network_comparison(study, sample, side, "pooled") for side in (few_members, all_members))
            names = {key: getattr(few, key) for key in ("source", "dataset", "proxy", "scope", "architectures")}
            keys = [key for key, _ in few_members]
            kernels = sample.comparison(keys, [(*key[:3], full) for key in keys], **names, target=all_.proxy)
            pairs += [(kernels, few), (all_, few)]
    if len(kinds) > 1:
        first, second = _shared(sides[kinds[0], small], sides[kinds[1], small])
        if _several_readouts(first):
            ntk, nngp = (_network_comparison(study, sample, side, "pooled") for side in (first, second))
            pairs.append((ntk, nngp))
    for pair in pairs:
        yield pair
        yield pair[0].without_family_means(), pair[1].without_family_means()


def _ends(study: Study) -> list[int]:
    """The smallest and the largest training-set size, once if they are the same."""
    return list(dict.fromkeys([study.train_sizes[0], study.train_sizes[-1]]))


def _several_readouts(members: _Members) -> bool:
    return len({network.readout for _, network in members}) > 1


def _shared(first: _Members, second: _Members) -> tuple[_Members, _Members]:
    """Both sides without the networks that only one has."""
    keys = {network.key for _, network in first} & {network.key for _, network in second}
    left, right = ([member for member in side if member[1].key in keys] for side in (first, second))
    return left, right


def _with_networks(study: Study, networks: Sequence[Network], kind: str, size: int, sample: Resampled) -> _Members:
    """Kernels of one kind and size, each with the network of its readout, filters and depth."""
    kernels = study.accuracy[study.accuracy.kind == kind].drop_duplicates("family")
    families: dict[tuple[str, int], str] = {}
    # of two families with the same network, the paper's own goes before one with flips, for example
    for row in sorted(kernels.itertuples(), key=lambda row: not row.kernel.startswith(("CNTK-", "CNN-GP-"))):
        families.setdefault((row.readout, row.filter_size), row.family)
    ordered = sorted(networks, key=lambda network: (network.readout, network.family, network.depth))
    members = [((families.get((n.readout, n.filter_size)), kind, n.depth, size), n) for n in ordered]
    return [(key, network) for key, network in members if key in sample.bits and network.readout in _PAPER_FAMILIES]


def _network_comparison(study: Study, sample: Resampled, members: _Members, scope: str) -> Comparison:
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
        architectures=[(_PAPER_FAMILIES[network.readout], network.depth) for _, network in members],
    )


def _small_against_full(study: Study, sample: Resampled) -> list[Comparison]:
    """Every size against the largest: each kernel across depths; then families pooled, with and without their means."""
    *fewer, full = study.train_sizes
    return [comparison for small in fewer for comparison in _size_against_full(study, sample, small, full)]


def _size_against_full(study: Study, sample: Resampled, small: int, full: int) -> Iterator[Comparison]:
    """Kernel by kernel; then families pooled, kind by kind and all together."""
    solved = [key for key in sample.bits if key[3] == small and (*key[:3], full) in sample.bits]
    names = study.accuracy.drop_duplicates(["family", "kind"]).set_index(["family", "kind"]).kernel
    kernels = {key: sorted(k[:3] for k in solved if k[:2] == key) for key in names.index}
    kernels = {key: members for key, members in kernels.items() if len(members) >= FEWEST}
    pools = [[key for key in kernels if key[1] == kind] for kind in study.accuracy.kind.unique()]
    pools = [pool for pool in [*pools, list(kernels)] if len(pool) > 1]
    for pool in [*([key] for key in kernels), *dict.fromkeys(map(tuple, pools))]:
        members = [member for key in pool for member in kernels[key]]
        name = " and ".join(names[key] for key in pool) if len(pool) < 3 else "all kernels"
        comparison = sample.comparison(
            [(*member, small) for member in members],
            [(*member, full) for member in members],
            source=study.name,
            dataset=study.dataset,
            proxy=f"{name}, n = {small}",
            target=f"{name}, n = {full}",
            scope="pooled" if len(pool) > 1 else "across depths",
            architectures=[(names[member[:2]], member[2]) for member in members],
        )
        yield comparison
        if len(pool) > 1:
            yield comparison.without_family_means()


def _against_paper(study: Study, sample: Resampled, seed: int) -> Iterator[Comparison]:
    """This study's kernels against the paper's columns of the same readout, over the depths that both have."""
    table = _binomially_resampled(sample.resamples, seed)
    table = table[table.source == "paper"]
    names = study.accuracy.drop_duplicates(["family", "kind"])
    kernels = names[names.kernel.isin(["CNTK-V", "CNTK-GAP"])]
    for row, size in itertools.product(kernels.itertuples(), study.train_sizes):
        for column, published in table[table.readout == row.readout].groupby("column", sort=False):
            keys = [(row.family, row.kind, depth, size) for depth in published.depth]
            values = published[[key in sample.bits for key in keys]]
            if len(values) >= FEWEST:
                yield sample.comparison(
                    [key for key in keys if key in sample.bits],
                    published=(values.accuracy.to_numpy(), np.stack(list(values.resampled), axis=-1)),
                    source=study.name,
                    dataset=study.dataset,
                    proxy=f"{row.kernel}, n = {size}",
                    target=f"{column} (paper)",
                    scope="across depths",
                    architectures=[(row.kernel, depth) for depth in values.depth],
                )
