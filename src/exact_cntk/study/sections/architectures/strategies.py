"""Cost and result of a search for an architecture: all with the full training set, or with few images first."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from exact_cntk.errors import UserError
from exact_cntk.study.sections.architectures.results import Search, pairs

SHORTLIST = 5  # architectures that a search tests with the full training set


def strategies(search: Search, protocol: str = "accuracy_loo_ridge") -> pd.DataFrame:
    """Ways to choose an architecture: the cost of each, and the accuracy of its choice with the full training set.

    A choice by accuracy on test images is made on one half of them (the even or the odd ones) and measured on the
    other, averaged over both ways: accuracies are on test images not used for choosing. Choosing by leave-one-out needs
    no test image; it uses the ridge that leave-one-out chooses, and is left out of the protocol without a ridge.

    Returns
    -------
    DataFrame
        `strategy`, `search_on` (the training sets of the search; for one of several sets, all other columns are means
        over sets), `chosen_by` ("test images" | "leave-one-out"), `element_layers` (all kernels of the search, one pass
        for all depths and kinds, and the full kernels that it needs), `accuracy`, `regret` (accuracy of the exhaustive
        search on test images − this one), `cost_percent` (element-layers relative to the exhaustive search), `chosen`
        (the architecture; empty where halves or training sets differ), `architectures` (number to choose from: those
        with an answer for every training set).
    """
    plan = _Plan(search, protocol)
    ways = ("test images", "leave-one-out") if protocol == "accuracy_loo_ridge" else ("test images",)
    rows = [plan.exhaustive(by) for by in ways]
    for n in search.small:
        repeats = search.repeats(n)
        for by in ways:
            rows += [plan.search(n, [[r] for r in range(repeats)], 1, by)]
            rows += [plan.search(n, [list(range(repeats))], 1, by)] if repeats > 1 else []
        rows += [plan.search(n, [list(range(repeats))], SHORTLIST, "test images")] if len(plan.rows) > SHORTLIST else []
    rows.append(plan.at_random())
    table = pd.DataFrame(rows)
    table["regret"] = table.accuracy[0] - table.accuracy
    table["cost_percent"] = 100 * table.element_layers / table.element_layers[0]
    table["architectures"] = len(plan.rows)
    return table


class _Plan:
    """Costs and outcomes of strategies over the solved architectures of a protocol."""

    def __init__(self, search: Search, protocol: str) -> None:
        self.rows = search.solved(protocol)
        if not self.rows:
            raise UserError(f"{search.study}: no architecture has an answer for every training set, {protocol}")
        self._search, self._protocol = search, protocol
        table = search.architectures
        passes = table.sort_values("element_layers_per_pair").drop_duplicates("pass", keep="last")
        self._per_pair = float(passes.element_layers_per_pair.sum(skipna=False))
        self._halves = [np.arange(search.test_images) % 2 == side for side in (0, 1)]

    def _scores(self, train_images: int, repeats: Sequence[int], by: str, half: np.ndarray) -> np.ndarray:
        """Scores of the architectures by which a search chooses, of shape (architectures,)."""
        if by == "test images":
            return self._correct(range(len(self.rows)), train_images, list(repeats), half)
        accuracy = self._search.accuracy
        seen = accuracy[(accuracy.train_images == train_images) & accuracy.repeat.isin(repeats)]
        return seen.groupby("row").loo_accuracy.mean()[self.rows].to_numpy()

    def _outcome(self, chosen: Sequence[int], half: np.ndarray) -> np.ndarray:
        return self._correct(chosen, self._search.full, [0], half)

    def _correct(self, chosen: Sequence[int], train_images: int, repeats: list[int], half: np.ndarray) -> np.ndarray:
        """Fractions of test images that architectures classify correctly."""
        correct = (self._search.correct[self._protocol, train_images, self.rows[i]] for i in chosen)
        return np.array([bits[repeats][:, half].mean() for bits in correct])

    def search(self, train_images: int, sets: Sequence[Sequence[int]], shortlist: int, by: str) -> dict[str, Any]:
        """Choose the best `shortlist` with few images, and of these the best with all.

        Each of `sets` lists the repeats that one search uses together; results are means over sets.
        """
        full, table = self._search.full, self._search.architectures
        choices, accuracies, layers = [], [], []
        for repeats in sets:
            for chosen_on, measured_on in (self._halves, self._halves[::-1]):
                scores = self._scores(train_images, repeats, by, chosen_on)
                # stable: a tie goes to the cheaper one
                best = [int(i) for i in np.argsort(-scores, kind="stable")[:shortlist]]
                final = best[int(self._outcome(best, chosen_on).argmax())]
                choices.append(final)
                accuracies.append(self._outcome([final], measured_on)[0])
                # one pass computes all of its architectures, at the cost of the deepest
                tried = table.loc[[self.rows[i] for i in best]].sort_values("element_layers")
                tried = tried.drop_duplicates("pass", keep="last")
                layers.append(float(tried.element_layers.sum(skipna=False)))
        searched = len(sets[0]) * pairs(train_images, self._search.test_images if by == "test images" else 0)
        return {
            "strategy": f"search, best {shortlist} tried at n = {full}" if shortlist > 1 else "search",
            "search_on": f"n = {train_images}, {len(sets[0])} training set{'s' * (len(sets[0]) > 1)}",
            "chosen_by": by,
            "element_layers": self._per_pair * searched + np.mean(layers),
            "accuracy": float(np.mean(accuracies)),
            "chosen": self._name(choices),
        }

    def exhaustive(self, by: str) -> dict[str, Any]:
        """Test every architecture with the full training set."""
        full = self._search.full
        choices = [int(self._scores(full, [0], by, half).argmax()) for half in self._halves]
        outcomes = [self._outcome([i], half)[0] for i, half in zip(choices, self._halves[::-1], strict=True)]
        all_pairs = pairs(full, self._search.test_images)
        return {
            "strategy": "exhaustive",
            "search_on": f"n = {full}",
            "chosen_by": by,
            "element_layers": self._per_pair * all_pairs,
            "accuracy": float(np.mean(outcomes)),
            "chosen": self._name(choices),
        }

    def at_random(self) -> dict[str, Any]:
        """No search: the mean over all architectures."""
        table = self._search.architectures.loc[self.rows]
        return {
            "strategy": "at random",
            "search_on": "",
            "chosen_by": "chance",
            "element_layers": float(table.element_layers.mean(skipna=False)),
            "accuracy": float(self._outcome(range(len(self.rows)), np.ones(self._search.test_images, bool)).mean()),
            "chosen": "",
        }

    def _name(self, chosen: Sequence[int]) -> str:
        names = {self._search.architectures.architecture[self.rows[i]] for i in chosen}
        return names.pop() if len(names) == 1 else ""


def pareto_front(cost: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Indices of the Pareto front by increasing cost: no other is at most as costly and more accurate."""
    order = np.lexsort((-accuracy, cost))
    best = np.maximum.accumulate(accuracy[order])
    rises = np.concatenate([[True], best[1:] > best[:-1]])
    return order[rises]
