"""A grid of architectures: how well accuracy with few training images predicts accuracy with many, and at what cost.

Accuracies come in two protocols, without a ridge (the paper's) and with the ridge that leave-one-out chooses on the
training images. The paper suggests this search in one sentence ("highly correlated … may be useful for neural
architecture search", section 6).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from exact_cntk.errors import UserError
from exact_cntk.networks import Family
from exact_cntk.networks.labels import kind_label, readout_label
from exact_cntk.study.documents import unpack_answers
from exact_cntk.study.stats.comparison import KINDS, Comparison, Resampled
from exact_cntk.study.stats.statistics import pearson, regret, spearman

# Protocol → its name in tables and figures.
PROTOCOLS = {"accuracy": "without a ridge", "accuracy_loo_ridge": "ridge chosen by leave-one-out"}
_BITS = {"accuracy": "test_correct_hex", "accuracy_loo_ridge": "test_correct_loo_ridge_hex"}
_COLUMNS = (
    *("protocol", "train_images", "scope", "n", "statistic", "value"),
    *(f"{kind}_{end}" for kind in KINDS for end in ("low", "high")),
    *("one_subset", "picked", "best"),
)
STATISTICS = {"spearman": spearman, "pearson": pearson, "regret": regret}

SCHEMA = Path(__file__).with_name("results.schema.yaml")  # of the files


@dataclass(frozen=True)
class Search:
    """The results of a grid.

    Attributes
    ----------
    study : str
    data : dict
        Of the files: `dataset`, `verified`, `digest`, ….
    architectures : DataFrame
        One row per architecture, the cheapest first: `architecture` (its name), `readout`, `pooling_window`, `flips`,
        `filter_size`, `depth`, `kind`, `trained`, `group` (readout, window and flips in words), `variant` (kind and
        trained layers in words), `element_layers_per_pair`, `element_layers` (of its kernel with all training and test
        images), `pass`.
    accuracy : DataFrame
        One row per architecture, `train_images` and `repeat`: `accuracy`, `accuracy_loo_ridge`, `loo_ridge` and
        `loo_accuracy` (at that ridge, on the training images). NaN where K is singular.
    correct : dict
        (protocol, training images, architecture's row) → bool array of shape (repeats, test images), without
        architectures that lack an answer for one of their repeats.
    resamples, seed : int
        Of the bootstrap.
    """

    study: str
    data: dict[str, Any]
    architectures: pd.DataFrame
    accuracy: pd.DataFrame
    correct: dict[tuple[str, int, int], np.ndarray]
    resamples: int = 2000
    seed: int = 0
    _cache: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def train_sizes(self) -> list[int]:
        """Numbers of training images, ascending; the last is the full set."""
        return sorted(int(n) for n in self.accuracy.train_images.unique())

    @property
    def full(self) -> int:
        """Images of the full training set."""
        return self.train_sizes[-1]

    @property
    def small(self) -> list[int]:
        """Images of the small training sets."""
        return self.train_sizes[:-1]

    @cached_property
    def test_images(self) -> int:
        """Number of test images."""
        return int(next(iter(self.correct.values())).shape[1])

    def repeats(self, train_images: int) -> int:
        """Number of training sets of a size."""
        return int(self.accuracy[self.accuracy.train_images == train_images].repeat.nunique())

    def solved(self, protocol: str) -> list[int]:
        """Rows of the architectures that have an answer for every training set."""
        return [i for i in self.architectures.index if all((protocol, n, i) in self.correct for n in self.train_sizes)]

    def sample(self, protocol: str) -> Resampled:
        """All architectures in one bootstrap, keys (training images, architecture's row)."""
        if protocol not in self._cache:
            solved = self.solved(protocol)
            bits = {(n, i): self.correct[protocol, n, i] for n in self.train_sizes for i in solved}
            draws = {key: key[0] for key in bits}  # repeat r is the same images for every architecture
            self._cache[protocol] = Resampled(bits, draws, resamples=self.resamples, seed=self.seed)
        return self._cache[protocol]

    def in_seconds(self, seconds: Mapping[str, float]) -> "Search":
        """The same with seconds as costs, out of those of each pass by its name; a depth has its share of layers."""
        table = self.architectures.copy()
        paces = table["pass"].map(seconds) / table.groupby("pass").element_layers.transform("max")
        for name in ("element_layers", "element_layers_per_pair"):
            table[name] = table[name] * paces
        return replace(self, architectures=table, _cache={})

    def compare(self, protocol: str, train_images: int, rows: Sequence[int], scope: str) -> Comparison:
        """Compare a small training set with the full one, over some of the solved architectures."""
        table = self.architectures.loc[list(rows)]
        return self.sample(protocol).comparison(
            [(train_images, i) for i in rows],
            [(self.full, i) for i in rows],
            source=self.study,
            dataset=str(self.data["dataset"]),
            proxy=f"n = {train_images}",
            target=f"n = {self.full}",
            scope=scope,
            architectures=list(zip(table.group, table.architecture, strict=True)),
        )


def read_search(documents: Sequence[tuple[Path, Mapping[str, Any]]], *, resamples: int = 2000, seed: int = 0) -> Search:
    """Put the files of all passes together: (path, document) pairs of the form `SCHEMA`, of the same images.

    Raises
    ------
    UserError
        Naming a file that was made from other training sets than the others, repeats the pass of another file, or
        contradicts itself.
    """
    if not documents:
        raise UserError("architectures: no results: run its jobs first, see `exact-cntk section run architectures`")
    _check_alike(documents)
    table = _architectures(documents)
    accuracy: list[dict[str, Any]] = []
    bits: dict[tuple[str, int, int], dict[int, np.ndarray]] = {}
    row_of = {(row["pass"], row.depth, row.kind, row.trained): i for i, row in table.iterrows()}
    for path, document in documents:
        for result in document["results"]:
            i = row_of[document["family"], result["depth"], result["kind"], result["trained"] or ""]
            n, repeat = result["train_images"], result["repeat"]
            names = ("accuracy", "accuracy_loo_ridge", "loo_ridge", "loo_accuracy")
            accuracy.append({"row": i, "train_images": n, "repeat": repeat} | {name: result[name] for name in names})
            for protocol, name in _BITS.items():
                if result[protocol] is not None:
                    answers = unpack_answers(result[name], document["test_images"], str(path), result[protocol])
                    bits.setdefault((protocol, n, i), {})[repeat] = answers
    frame = pd.DataFrame(accuracy).sort_values(["row", "train_images", "repeat"], ignore_index=True)
    frame = frame.astype({name: float for name in frame.columns if frame[name].dtype == object})
    repeats = frame.groupby("train_images").repeat.nunique()
    correct = {
        key: np.stack([answers[repeat] for repeat in sorted(answers)])
        for key, answers in bits.items()
        if len(answers) == repeats[key[1]]
    }
    first = documents[0][1]
    return Search(first["study"], dict(first["data"]), table, frame, correct, resamples, seed)


def _check_alike(documents: Sequence[tuple[Path, Mapping[str, Any]]]) -> None:
    first_path, first = documents[0]
    seen: dict[str, Path] = {}
    for path, document in documents:
        if not document["results"]:
            raise UserError(f"{path} holds no results; delete it and run again")
        for name in ("train_images", "test_images"):
            if document[name] != first[name]:
                raise UserError(
                    f"{path}: {name} is {document[name]}, but {first_path} has {first[name]}; "
                    "delete the file of earlier parameters"
                )
        if document["family"] in seen:
            raise UserError(f"{path}: pass {document['family']} is in {seen[document['family']]} too; remove one")
        seen[document["family"]] = path


def _architectures(documents: Sequence[tuple[Path, Mapping[str, Any]]]) -> pd.DataFrame:
    rows = []
    for _, document in documents:
        q = document["filter_size"]
        shared = {name: document[name] for name in ("readout", "pooling_window", "flips", "filter_size")}
        n, m = document["train_images"], document["test_images"]
        per_pair = {int(depth): count for depth, count in document["element_layers_per_pair"].items()}
        group = readout_label(Family.from_parts({"trained": "", **document}))  # each result has its own trained layers
        variants = dict.fromkeys((result["depth"], result["kind"], result["trained"]) for result in document["results"])
        rows += [
            {
                **shared,
                "depth": depth,
                "kind": kind,
                "trained": trained or "",
                "group": group,
                "variant": kind_label(kind, trained),
                "architecture": f"{group}, {q}×{q}, depth {depth}, {kind_label(kind, trained)}",
                "element_layers_per_pair": per_pair[depth],
                "element_layers": per_pair[depth] * pairs(n, m),
                "pass": document["family"],
            }
            for depth, kind, trained in variants
        ]
    order = ["element_layers_per_pair", "filter_size", "depth", "group", "variant"]
    return pd.DataFrame(rows).sort_values(order, kind="stable", ignore_index=True)


def pairs(train_images: int, test_images: int) -> int:
    """Pairs of images of a kernel between n training images, and between them and m test images: n(n + 1)/2 + nm."""
    return train_images * (train_images + 1) // 2 + train_images * test_images


def ranking(search: Search, train_images: int | None = None) -> pd.DataFrame:
    """All architectures, the best with few training images (`train_images`, by default the largest small size) first.

    Returns
    -------
    DataFrame
        The columns of `Search.architectures`; for each small size n and protocol p `<p>_<n>` and `<p>_<n>_std` (mean
        and standard deviation over training sets, empty unless all of them have an answer) and `<p>_<n>_solved` (how
        many have one), for the full set `<p>_full`; `rank_small` and `rank_full` with the ridge of leave-one-out (1 is
        the best, ties share their mean rank).
    """
    size = train_images or search.small[-1]
    table = search.architectures.copy()
    for n in search.train_sizes:
        groups = search.accuracy[search.accuracy.train_images == n].groupby("row")
        for protocol in PROTOCOLS:
            name = f"{protocol}_full" if n == search.full else f"{protocol}_{n}"
            # no mean where one training set is singular; rounded, so that the order of summation does not break ties
            table[name] = groups[protocol].agg(lambda values: values.mean(skipna=False)).round(12)
            if n != search.full:
                table[f"{name}_std"] = groups[protocol].agg(lambda values: values.std(ddof=1, skipna=False))
                table[f"{name}_solved"] = groups[protocol].count()
    table["rank_small"] = table[f"accuracy_loo_ridge_{size}"].rank(ascending=False)
    table["rank_full"] = table["accuracy_loo_ridge_full"].rank(ascending=False)
    return table.sort_values("rank_small", kind="stable", ignore_index=True)


def scopes(search: Search, protocol: str) -> Iterator[tuple[str, list[int]]]:
    """Yield sets of architectures to compare within: all, the better half, and each value of each property."""
    solved = search.architectures.loc[search.solved(protocol)]
    yield "all", list(solved.index)
    means = search.sample(protocol).mean if len(solved) else {}
    best = sorted(solved.index, key=lambda i: -means[search.full, i])[: (len(solved) + 1) // 2]
    yield "better half at full data", sorted(best)
    labels = {"group": "{}", "filter_size": "filters {0}×{0}", "variant": "{}", "depth": "depth {}"}
    for column, label in labels.items():
        values = list(dict.fromkeys(search.architectures.sort_values(column)[column]))
        if len(values) > 1:
            for value in values:
                yield label.format(value), list(solved.index[solved[column] == value])


def correlations(search: Search) -> pd.DataFrame:
    """Agreement of the rankings with few and with all training images.

    Returns
    -------
    DataFrame
        One row per protocol, small size, scope and statistic ("spearman", "pearson", "regret"; the last is the accuracy
        lost by choosing the highest-ranked): `n` architectures, `value`, 95 % intervals `<kind>_low` and `<kind>_high`
        over training sets ("subsets"), test images ("tests") and both at once; `one_subset`, its mean over single
        training sets, empty where one is undefined; `picked` and `best` (rows of regret). Scopes of fewer than three
        architectures have no row.
    """
    if "correlations" in search._cache:
        return search._cache["correlations"].copy()
    rows: list[dict[str, Any]] = []
    for protocol in PROTOCOLS:
        for n in search.small:
            for scope, members in scopes(search, protocol):
                if len(members) < 3:
                    continue
                comparison = search.compare(protocol, n, members, scope)
                rows += _rows(comparison, protocol, n)
                if scope == "all" and len(set(comparison.families)) > 1:
                    rows += _rows(comparison.without_family_means(), protocol, n)
    search._cache["correlations"] = pd.DataFrame(rows, columns=_COLUMNS)
    return search._cache["correlations"].copy()


def _rows(comparison: Comparison, protocol: str, train_images: int) -> Iterator[dict[str, Any]]:
    scope = comparison.scope.replace("family means", "readouts' means")
    x, y, repeats = comparison.x, comparison.y, comparison.x_repeats
    for name, statistic in STATISTICS.items():
        if name == "regret" and comparison.within_families:
            continue  # nobody chooses among averages
        row: dict[str, Any] = {"protocol": protocol, "train_images": train_images, "scope": scope, "n": len(x)}
        row |= {"statistic": name, "value": comparison.value(name), "one_subset": np.nan}
        for kind in KINDS:
            row[f"{kind}_low"], row[f"{kind}_high"] = comparison.interval(name, kind)
        if repeats is not None:
            row["one_subset"] = float(np.mean(statistic(repeats, np.broadcast_to(y, repeats.shape))))
        if name == "regret":
            chosen, best = comparison.architectures[x.argmax()], comparison.architectures[y.argmax()]
            row |= {"picked": chosen[1], "best": best[1]}
        yield row
