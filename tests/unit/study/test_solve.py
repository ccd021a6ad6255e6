"""Solving: the numbers are those of kernel regression on the right images, and files that do not fit are refused."""

import json
import re

import numpy as np
import pytest
from kernel_files import edit, entries, make_blocks, make_data, make_header, make_kernel

from exact_cntk.blocks import block_positions, merge_blocks, write_block
from exact_cntk.errors import UserError
from exact_cntk.networks import Family
from exact_cntk.regression import ridge_path as ridges
from exact_cntk.regression.solvers import choice, tiled
from exact_cntk.regression.solvers.triangle import Triangle
from exact_cntk.study import fits
from exact_cntk.study.solve import solve, solve_to_files
from exact_cntk.study.subsets import Subset

RIDGES = [0.0, 1e-4, 1e-1]
SUBSETS = [Subset(24, 1), Subset(8, 3)]


@pytest.fixture
def kernel_file(tmp_path, data, full):
    return make_kernel(tmp_path, data, full)


def test_agrees_with_solving_by_hand(kernel_file, data_file, data, full):
    metrics, *_ = solve(kernel_file, data_file, subsets=SUBSETS, ridges=RIDGES)
    assert [(r["kind"], r["train_images"], r["repeat"]) for r in metrics["results"]] == [
        (kind, n, repeat) for kind in ("ntk", "nngp") for n, repeats in SUBSETS for repeat in range(repeats)
    ]
    coded = np.eye(3) - 0.1
    for result in metrics["results"]:
        n, first = result["train_images"], result["repeat"] * result["train_images"]
        chunk = slice(first, first + n)
        scale = 3 if result["kind"] == "ntk" else 1
        K, K_test = scale * full[chunk, chunk], scale * full[24:, chunk]
        Y = coded[data.train_labels[chunk]]
        for i, ridge in enumerate(RIDGES):
            shifted = K + ridge * K.diagonal().mean() * np.eye(n)
            correct = (K_test @ np.linalg.solve(shifted, Y)).argmax(axis=1) == data.test_labels
            assert result["test_accuracy"][i] == correct.mean()
            assert result["condition_number"][i] == pytest.approx(np.linalg.cond(shifted), rel=1e-5)  # six digits
            left_out = Y - np.linalg.solve(shifted, Y) / np.linalg.inv(shifted).diagonal()[:, None]
            assert result["loo_error"][i] == pytest.approx(((left_out - Y) ** 2).mean(), rel=1e-5)
            if i == 0:
                bits = np.unpackbits(np.frombuffer(bytes.fromhex(result["test_correct_hex"]), np.uint8), count=10)
                np.testing.assert_array_equal(bits, correct)
        assert result["accuracy"] == result["test_accuracy"][0]
        assert result["accuracy_loo_ridge"] == result["test_accuracy"][RIDGES.index(result["loo_ridge"])]
        spectrum = np.linalg.eigvalsh(K)[::-1]
        assert result["eigenvalues"]["rank"] == list(range(1, n + 1))
        np.testing.assert_allclose(result["eigenvalues"]["value"], spectrum, rtol=1e-5)


def test_metrics_say_of_local_pooling_and_flips_where_there_are(tmp_path, kernel_file, data_file, data, full):
    how, family = {"subsets": SUBSETS, "ridges": RIDGES}, Family("lap", pooling_window=5, flips=True)
    plain, *_ = solve(kernel_file, data_file, **how)
    assert "pooling_window" not in plain and "flips" not in plain
    paths = []
    for position in block_positions(24, 10, 24):
        header = make_header(data, position, network=family)
        paths.append(tmp_path / f"{position.rows.start}.h5")
        write_block(paths[-1], header, entries(full, header), "avx2")
    merged = tmp_path / "lap.h5"
    kernel = merge_blocks(paths, 3, merged)
    assert kernel.network == family
    local, *_ = solve(merged, data_file, **how)
    assert (local["readout"], local["pooling_window"], local["flips"]) == ("lap", 5, True)
    assert local["results"] == plain["results"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_storage_in_float32_is_rounding_of_float32(tmp_path, data_file, data, full, dtype, monkeypatch):
    """Whatever the recursion was computed in."""
    merged = tmp_path / "kernel.h5"
    paths = make_blocks(tmp_path / "blocks", data, full, dtype=dtype, storage="float32")
    assert merge_blocks(paths, 3, merged).dtype == dtype
    seen, original = [], fits.fit_and_test

    def recording(*arguments, **options):
        seen.append(options["dtype"])
        return original(*arguments, **options)

    monkeypatch.setattr("exact_cntk.study.solve.fit_and_test", recording)
    solve(merged, data_file, subsets=SUBSETS, ridges=RIDGES)
    assert set(seen) == {"float32"}

    class Recording(Triangle):
        def load(self, i, j, tile):
            super().load(i, j, tile)
            kept.append(self._lower[i, j].dtype)

    kept = []
    monkeypatch.setattr("exact_cntk.regression.solvers.cg.Triangle", Recording)
    solve(merged, data_file, subsets=[Subset(24, 1)], ridges=RIDGES, method="cg")
    assert set(kept) == {np.dtype("float32")}  # half the memory


def test_files(tmp_path, kernel_file, data_file, data):
    paths = tmp_path / "metrics.json", tmp_path / "provenance.json"
    options = {"subsets": SUBSETS, "ridges": RIDGES, "study": "tiny"}
    solve_to_files(kernel_file, data_file, *paths, timing_file=tmp_path / "timing.json", **options)
    first = [path.read_bytes() for path in paths]
    solve_to_files(kernel_file, data_file, *paths, **options)
    assert [path.read_bytes() for path in paths] == first
    metrics, provenance = (json.loads(path.read_text()) for path in paths)
    assert {name: metrics[name] for name in ("study", "family", "readout", "trained", "filter_size", "depth")} == {
        "study": "tiny",
        "family": "cntk-v",
        "readout": "flatten",
        "trained": "all",
        "filter_size": 3,
        "depth": 3,
    }
    assert metrics["data"]["digest"] == provenance["data"]["digest"] == data.digest
    assert provenance["parameters"]["subsets"] == ["24x1", "8x3"]
    assert (provenance["backend"], provenance["instruction_set"]) == ("cpu", "avx2")
    assert json.loads((tmp_path / "timing.json").read_text())["seconds"]["solve"] > 0


def numbers(results):
    """All that is not an accuracy, a method's own estimate or its rounding."""
    return [[result[name] for name in ("loo_error", "accuracy", "loo_ridge", "test_accuracy")] for result in results]


@pytest.mark.parametrize("method", ["cholesky", "blocked"])
def test_any_method_gives_the_same(tmp_path, kernel_file, data_file, method, monkeypatch):
    """The chunk of a pool is read from the file by tiles; the log says how and why."""
    monkeypatch.setattr(choice, "SMALLEST_TILE", 5)
    monkeypatch.setattr(choice, "LARGEST_TILE", 5)
    options = {"subsets": SUBSETS, "ridges": RIDGES}
    paths, lines = (tmp_path / "metrics.json", tmp_path / "provenance.json"), []
    metrics = solve_to_files(kernel_file, data_file, *paths, **options, method=method, log=lines.append)
    assert numbers(metrics["results"]) == numbers(solve(kernel_file, data_file, **options).metrics["results"])
    assert len(lines) == 2 and lines[0].startswith(f"solving cntk-v at depth 3 on 24x1: {method} (")
    assert "tiles of 5" in lines[0] or method == "cholesky"
    assert lines[0].endswith("as requested")
    solvers = json.loads(paths[1].read_text())["parameters"]["solvers"]
    assert [f"solving cntk-v at depth 3 on {subset}: {text}" for subset, text in solvers.items()] == lines
    assert list(tmp_path.glob(".*")) == []


def test_little_memory_is_made_do_with(kernel_file, data_file, monkeypatch):
    """Eigendecomposition and Cholesky do not fit: tiles do, and the metrics lack nothing but the spectrum."""
    monkeypatch.setattr(choice, "SMALLEST_TILE", 5)
    monkeypatch.setattr(choice, "blocked_bytes", lambda *_: 100)
    monkeypatch.setattr(choice, "_path_bytes", lambda *_: 10)
    monkeypatch.setattr("exact_cntk.study.solve.testing_bytes", lambda *_: 100)
    solved = solve(kernel_file, data_file, subsets=[Subset(24, 1)], ridges=RIDGES, max_memory_gib=1000 / 2**30)
    assert solved.solvers["24x1"].startswith("blocked")
    assert "eigh needs" in solved.solvers["24x1"] and "cholesky needs" in solved.solvers["24x1"]
    assert [result["eigenvalues"] for result in solved.metrics["results"]] == [None, None]


@pytest.mark.parametrize("method", ["cholesky", "blocked"])
def test_goes_on_after_an_interruption_to_the_same_bytes(tmp_path, kernel_file, data_file, method, monkeypatch):
    """Finished ridges are kept beside the metrics until these are written."""
    options = {"subsets": SUBSETS, "ridges": RIDGES, "method": method}
    solve_to_files(kernel_file, data_file, tmp_path / "undisturbed.json", **options)
    module, name = (ridges, "LapackFactors") if method == "cholesky" else (tiled, "TiledFactors")
    solved = []

    class Counting(getattr(module, name)):
        limit = 5  # in the second problem

        def solution(self, *arguments):
            if len(solved) == self.limit:
                raise KeyboardInterrupt
            solved.append(arguments[0])
            return super().solution(*arguments)

    monkeypatch.setattr(module, name, Counting)
    with pytest.raises(KeyboardInterrupt):
        solve_to_files(kernel_file, data_file, tmp_path / "metrics.json", **options)
    kept = tmp_path / ".metrics.json.ridges"
    assert sorted(path.name for path in kept.iterdir()) == ["ntk-24x1-0.npz", "ntk-8x3-0.npz"]
    solved.clear()
    Counting.limit = None
    solve_to_files(kernel_file, data_file, tmp_path / "metrics.json", **options)
    assert len(solved) == 2 * 4 * len(RIDGES) - 5
    assert not kept.exists()
    assert (tmp_path / "metrics.json").read_bytes() == (tmp_path / "undisturbed.json").read_bytes()


def test_goes_on_after_a_kill_at_a_product_to_the_same_bytes(tmp_path, kernel_file, data_file, monkeypatch):
    """By conjugate gradients, whose finished products are kept beside the metrics until these are written."""
    options = {"subsets": [Subset(24, 1)], "ridges": RIDGES, "method": "cg"}
    undisturbed = solve_to_files(kernel_file, data_file, tmp_path / "undisturbed.json", **options)
    multiply, products = Triangle.multiply, []

    def counting(self, right):
        if len(products) == counting.limit:
            raise KeyboardInterrupt
        products.append(right.shape)
        return multiply(self, right)

    monkeypatch.setattr(Triangle, "multiply", counting)
    kept = tmp_path / ".metrics.json.ridges"
    kills = 0
    while kills < 20:
        counting.limit = len(products) + 3  # each finished problem is checked again, by a product
        try:
            solve_to_files(kernel_file, data_file, tmp_path / "metrics.json", **options)
        except KeyboardInterrupt:
            assert any(path.name.startswith("ntk-24x1-0-") for path in kept.iterdir())
            kills += 1
        else:
            break
    assert 1 < kills < 20 and not kept.exists()
    assert (tmp_path / "metrics.json").read_bytes() == (tmp_path / "undisturbed.json").read_bytes()
    assert {result["selection"] for result in undisturbed["results"]} == {"held-out tenth"}
    direct = solve(kernel_file, data_file, **options | {"method": "direct"}).metrics
    for ours, theirs in zip(undisturbed["results"], direct["results"], strict=True):
        assert ours["test_accuracy"] == theirs["test_accuracy"]
        assert "selection" not in theirs and ours["eigenvalues"] is None


def test_a_ridge_that_does_not_converge_is_null_and_told(kernel_file, data_file, monkeypatch):
    monkeypatch.setattr(choice, "STEPS", 4)
    monkeypatch.setattr(choice, "FEWEST_STEPS", 4)
    lines = []
    options = {"subsets": [Subset(24, 1)], "ridges": [0.0, 1e3], "method": "cg", "log": lines.append}
    metrics = solve(kernel_file, data_file, **options).metrics
    for result in metrics["results"]:
        assert result["accuracy"] is result["test_correct_hex"] is result["condition_number"][0] is None
        assert result["loo_ridge"] == 1e3 and result["test_accuracy"][1] is not None
        assert result["residual_norm"][0] > 1e-8  # as it was found
    assert len(lines) == 1 + 2
    assert re.match(
        r"solving cntk-v at depth 3 on 24x1, ntk, repeat 0: ridge 0 has no answer: "
        r'"cg" reached a residual of .*, which is too large; method "direct" needs no convergence',
        lines[1],
    )


def test_keeps_finished_ridges_until_all_is_written(tmp_path, kernel_file, data_file):
    (tmp_path / "provenance.json").mkdir()  # no place for a file
    options = {"subsets": [Subset(24, 1)], "ridges": RIDGES, "method": "cholesky"}
    with pytest.raises(UserError, match=r"cannot write .*provenance.json: Is a directory"):
        solve_to_files(kernel_file, data_file, tmp_path / "metrics.json", tmp_path / "provenance.json", **options)
    assert (tmp_path / ".metrics.json.ridges" / "ntk-24x1-0.npz").exists()


def test_removes_nothing_but_finished_ridges(tmp_path, kernel_file, data_file):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("thesis.tex", "weights.npz", "ntk-8x3-0.npz"):  # the last is what an earlier run has left
        (folder / name).write_text("x")
    options = {"subsets": SUBSETS, "ridges": RIDGES, "method": "cholesky"}
    solve_to_files(kernel_file, data_file, tmp_path / "metrics.json", checkpoints=folder, **options)
    assert sorted(path.name for path in folder.iterdir()) == ["thesis.tex", "weights.npz"]


def test_a_ridge_that_cannot_be_solved_is_null(tmp_path, data, data_file, full):
    """Two images that are the same: K is singular, and only the ridges above 0 have an answer."""
    full[:, 1] = full[:, 0]
    full[1] = full[0]
    metrics, *_ = solve(make_kernel(tmp_path, data, full), data_file, subsets=[Subset(24, 1)], ridges=RIDGES)
    for result in metrics["results"]:
        assert result["accuracy"] is None and result["test_correct_hex"] is None
        for name in ("test_accuracy", "loo_accuracy", "loo_error", "residual_norm", "condition_number"):
            assert result[name][0] is None and None not in result[name][1:]
        assert result["loo_ridge"] > 0 and result["accuracy_loo_ridge"] is not None


def test_reports_progress(kernel_file, data_file):
    seen = []
    solve(kernel_file, data_file, subsets=SUBSETS, ridges=[0.0], progress=lambda *numbers: seen.append(numbers))
    assert seen == [(i, 8) for i in range(1, 9)]


def test_other_images(tmp_path, kernel_file):
    make_data(tmp_path / "other.h5", seed=1)
    with pytest.raises(UserError, match=r"kernel-3\.h5 was made from other images .* than .*other\.h5"):
        solve(kernel_file, tmp_path / "other.h5", subsets=SUBSETS, ridges=RIDGES)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"subsets": [Subset(8, 4)]}, "8x4 needs 32 images, but the training pool has 24: at most 3 repeats of 8"),
        ({"subsets": [Subset(25, 1)]}, "25x1 needs 25 images"),
        ({"subsets": []}, "subsets are empty"),
        ({"subsets": [Subset(8, 1), Subset(8, 2)]}, "8x2 is the second of 8 images"),
        ({"ridges": [1e-3]}, "must include 0"),
        ({"ridges": [0.0, -1.0]}, "ridges is"),
        ({"method": "block"}, "method is 'block'; allowed are .*; did you mean 'blocked'"),
    ],
)
def test_bad_parameters(kernel_file, data_file, options, reason):
    with pytest.raises(UserError, match=reason):
        solve(kernel_file, data_file, **{"subsets": SUBSETS, "ridges": RIDGES} | options)


def test_negative_eigenvalue(tmp_path, data, data_file, full):
    bad = full - np.eye(34, 24)
    with pytest.raises(UserError, match=r"kernel-3\.h5: ntk on images 0:24: K is not positive.* smallest eigenvalue"):
        solve(make_kernel(tmp_path, data, bad), data_file, subsets=SUBSETS, ridges=RIDGES)


def test_a_float32_kernels_rounding_is_no_negative_eigenvalue(tmp_path, data, data_file, full):
    values, vectors = np.linalg.eigh(full[:24, :24])
    values[0] = -5e-7 * values[-1]
    full[:24, :24] = (vectors * values) @ vectors.T
    full[:24, :24] = (full[:24, :24] + full[:24, :24].T) / 2
    metrics, *_ = solve(make_kernel(tmp_path, data, full), data_file, subsets=[Subset(24, 1)], ridges=RIDGES)
    result = metrics["results"][0]
    assert result["eigenvalues"]["value"][-1] < 0  # not altered
    assert result["accuracy"] is None  # nor solved where the ridge does not outweigh it
    assert result["test_accuracy"][-1] is not None


def test_not_finite(kernel_file, data_file):
    """Since it was merged: what is merged is finite."""
    block = kernel_file.parent / "blocks/0-0.h5"
    edit(block, lambda file: file["nngp/depth_03"].__setitem__((2, 4), np.nan))
    with pytest.raises(UserError, match=f"block {block} is not the one that kernel {kernel_file} was merged from"):
        solve(kernel_file, data_file, subsets=SUBSETS, ridges=RIDGES)


def test_too_little_memory(kernel_file, data_file, monkeypatch):
    with pytest.raises(UserError, match=r"solving cntk-v at depth 3 needs .* but --max-memory-gib allows 1e-06 GiB"):
        solve(kernel_file, data_file, subsets=SUBSETS, ridges=RIDGES, max_memory_gib=1e-6)
    monkeypatch.setattr("exact_cntk._support.machine.available_memory", lambda: 1000)
    with pytest.raises(UserError, match="available"):
        solve(kernel_file, data_file, subsets=SUBSETS, ridges=RIDGES)
