"""Regression on random features and exact kernels: against explicit features, and as the report shows it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from kernel_files import N_TEST, N_TRAIN, linear_kernel, make_data, make_kernel

from exact_cntk import kernel_regression
from exact_cntk.data import ProcessedData
from exact_cntk.errors import InputError, UserError
from exact_cntk.networks import Family
from exact_cntk.study.documents import write_result
from exact_cntk.study.params import load_params
from exact_cntk.study.sections import open_section, write_section
from exact_cntk.study.sections.random_features import cost as costs
from exact_cntk.study.sections.random_features import plan
from exact_cntk.study.sections.random_features import results as tables_module
from exact_cntk.study.show.style import to_svg
from exact_cntk.study.solve import solve_to_files
from exact_cntk.study.subsets import Subset

pytest.importorskip("torch")

from exact_cntk.finite import random_features
from exact_cntk.study.sections.random_features import jobs
from exact_cntk.study.sections.random_features.fits import NestedFits
from exact_cntk.study.sections.random_features.jobs import solve_draw, solve_exact, sweep_widths

RIDGES = [0.0, 1e-6, 1e-2]
VANILLA = ("cntk-v", Family("flatten"))
POOLED = ("cntk-gap", Family("gap", ("hidden",)))
DRAW: dict[str, Any] = {
    "depths": [3],
    "kinds": ["ntk", "nngp"],
    "width": 4,
    "train_images": N_TRAIN,
    "test_images": N_TEST,
    "ridges": RIDGES,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one kernel, with its random features: metrics, two draws, exact kernels, a sweep."""
    study = tmp_path_factory.mktemp("results") / "squares"
    data_file = study / "squares.h5"
    study.mkdir()
    data = make_data(data_file)
    kernel_file = make_kernel(study, data, linear_kernel(data))
    (study / "metrics").mkdir()
    solve_to_files(kernel_file, data_file, study / "metrics" / "k.json", subsets=[Subset(8, 3)], ridges=RIDGES)
    own = study / "random_features"
    own.mkdir()
    for number in range(3):
        write_result(own / f"cntk-v-draw-{number:02d}.json", solve_draw(data_file, *VANILLA, draw=number, **DRAW))
    images = {name: DRAW[name] for name in ("train_images", "test_images", "ridges")}
    write_result(own / "cntk-v-exact.json", solve_exact([kernel_file], data_file, **images))
    swept = sweep_widths(data_file, *VANILLA, kinds=["ntk"], depth=3, widths=[4, 8, 16], images=4, draws=2)
    write_result(own / "cntk-v-sweep.json", swept)
    return study


def one(document: dict[str, Any], **of: Any) -> dict[str, Any]:
    (found,) = [entry for entry in document["results"] if all(entry[name] == value for name, value in of.items())]
    return found


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_draw_is_regression_on_explicit_features(data_file: Path, data: ProcessedData, kind: str) -> None:
    document = solve_draw(data_file, *VANILLA, draw=1, **DRAW | {"kinds": [kind]})
    images = np.concatenate([data.train_images, data.test_images])
    features = random_features(images, depth=3, readout="flatten", width=4, get=kind, draw=1, dtype="float64")[kind]
    K, K_test = features[:N_TRAIN] @ features[:N_TRAIN].T, features[N_TRAIN:] @ features[:N_TRAIN].T
    fit = kernel_regression((K + K.T) / 2, data.train_labels, K_test, ridges=RIDGES)
    found = one(document, dtype="float64", train_images=N_TRAIN)
    assert found["test_accuracy"] == fit.test_accuracy(data.test_labels).tolist()
    assert found["loo_accuracy"] == pytest.approx(fit.loo_accuracy)
    # files have six digits
    assert found["condition_number"] == pytest.approx(fit.condition_number, rel=1e-5)
    assert found["features"] == features.shape[1]
    assert found["unchecked_accuracy"] == found["accuracy"]


def test_float32_differs_by_its_rounding(data_file: Path, data: ProcessedData) -> None:
    document = solve_draw(data_file, *VANILLA, draw=0, **DRAW)
    for kind in ("ntk", "nngp"):
        single, double = (one(document, kind=kind, dtype=name, train_images=N_TRAIN) for name in plan.DTYPES)
        assert double["rounding"] is None
        assert 1e-9 < single["rounding"] < 1e-5  # a few units in the last place of float32, 6e-8


def test_kernel_of_too_few_features_is_singular_in_any_precision(data_file: Path, data: ProcessedData) -> None:
    document = solve_draw(data_file, *POOLED, draw=0, **DRAW)
    for dtype in plan.DTYPES:
        found = one(document, kind="nngp", dtype=dtype, train_images=N_TRAIN)
        assert found["features"] == 4
        assert found["rank"] <= 4
        assert 0 <= found["unchecked_accuracy"] <= 1
    assert found["accuracy"] is None
    assert found["accuracy_loo_ridge"] is not None
    assert one(document, kind="ntk", dtype="float64", train_images=N_TRAIN)["rank"] == N_TRAIN  # of 144 features


def test_every_size_is_solved_on_the_first_images(data_file: Path, data: ProcessedData) -> None:
    document = solve_draw(data_file, *VANILLA, draw=0, **DRAW)
    fewer = solve_draw(data_file, *VANILLA, draw=0, **DRAW | {"train_images": N_TRAIN // 2})
    names = {"kind": "ntk", "dtype": "float64", "train_images": N_TRAIN // 2}
    half, alone = one(document, **names), one(fewer, **names)
    assert half["test_accuracy"] == alone["test_accuracy"]
    assert "eigenvalues" in alone and "eigenvalues" not in half
    assert {entry["train_images"] for entry in document["results"]} == {24, 12, 6}


def test_test_images_come_in_batches(
    data_file: Path, data: ProcessedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel_file = make_kernel(tmp_path, data, linear_kernel(data))
    images = {name: DRAW[name] for name in ("train_images", "test_images", "ridges")}
    whole = [solve_draw(data_file, *VANILLA, draw=0, **DRAW), solve_exact([kernel_file], data_file, **images)]
    rows: list[int] = []
    test = NestedFits.test

    def counted(fits: NestedFits, K_test: np.ndarray) -> None:
        rows.append(len(K_test))
        test(fits, K_test)

    monkeypatch.setattr(jobs, "TEST_ROWS", 5)
    monkeypatch.setattr(NestedFits, "test", counted)
    assert [solve_draw(data_file, *VANILLA, draw=0, **DRAW), solve_exact([kernel_file], data_file, **images)] == whole
    assert max(rows) == 5 and sum(rows) % N_TEST == 0


def test_same_arguments_same_bytes(data_file: Path, data: ProcessedData, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_result(tmp_path / name, solve_draw(data_file, *POOLED, draw=2, **DRAW))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@pytest.mark.parametrize("readout", ["flatten", "gap"])
@pytest.mark.parametrize("trained", ["all", "hidden"])
def test_number_of_features(kind: str, readout: str, trained: str) -> None:
    images = np.ones((2, 3, 4, 2), dtype=np.float32)
    family = Family(readout, (trained,))
    features = random_features(images, depth=4, width=5, get=kind, **family.arguments())[kind]
    assert plan.count_features((3, 4, 2), family, kind, 4, 5) == features.shape[1]


def test_exact_kernel_of_float64_is_solved_rounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import kernel_files

    header = kernel_files.make_header
    monkeypatch.setattr(kernel_files, "make_header", lambda *given: header(*given, dtype="float64"))
    data_file = tmp_path / "squares.h5"
    data = make_data(data_file)
    kernel_file = make_kernel(tmp_path, data, linear_kernel(data))
    document = solve_exact([kernel_file], data_file, train_images=20, test_images=5, ridges=RIDGES)
    single, double = (one(document, kind="ntk", dtype=name, train_images=20) for name in plan.DTYPES)
    assert double["rounding"] is None
    assert 0 < single["rounding"] < 2**-24 * 20  # half a unit in the last place of each entry
    assert double["features"] is None


def test_kernel_averaged_over_flips_is_no_network_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import kernel_files

    header, family = kernel_files.make_header, Family("flatten", flips=True)
    monkeypatch.setattr(kernel_files, "make_header", lambda *given: header(*given, network=family))
    data = make_data(tmp_path / "squares.h5")
    kernel_file = make_kernel(tmp_path, data, linear_kernel(data))
    with pytest.raises(UserError, match="is averaged over flips, but networks are not"):
        solve_exact([kernel_file], tmp_path / "squares.h5", train_images=4, test_images=4, ridges=RIDGES)


def test_bad_input_is_named(data_file: Path, data: ProcessedData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train_images is 25; allowed are 2 to 24"):
        solve_draw(data_file, *VANILLA, draw=0, **DRAW | {"train_images": 25})
    with pytest.raises(InputError, match=r"test_images is 0; allowed are 1 to 10"):
        solve_draw(data_file, *VANILLA, draw=0, **DRAW | {"test_images": 0})
    with pytest.raises(InputError, match=r"ridges are \[0\.1\], but must include 0"):
        solve_draw(data_file, *VANILLA, draw=0, **DRAW | {"ridges": [0.1]})
    other = make_data(tmp_path / "other.h5", seed=1)
    kernel_file = make_kernel(tmp_path, other, linear_kernel(other))
    with pytest.raises(UserError, match="made from other images"):
        solve_exact([kernel_file], data_file, train_images=4, test_images=4, ridges=RIDGES)


def test_sweep_has_the_fit_of_its_deviations(folder: Path) -> None:
    document = json.loads((folder / "random_features" / "cntk-v-sweep.json").read_text())
    (sweep,) = document["sweeps"]
    assert np.shape(sweep["deviations"]) == (3, 2)
    slope = np.polyfit(np.repeat(np.log(sweep["widths"]), 2), np.log(np.ravel(sweep["deviations"])), 1)[0]
    assert sweep["slope"] == pytest.approx(slope, rel=1e-4)  # written with six digits
    assert sweep["interval"][0] < slope < sweep["interval"][1]


def test_tables_hold_medians_and_losses_that_add_up(folder: Path) -> None:
    section, results = open_section("random_features", folder)
    tables = section.tables(results)
    table = tables["random_features"]
    picked = table.query("source == 'features' and kind == 'ntk' and dtype == 'float32' and train_images == 24").iloc[0]
    draws = [
        one(json.loads(path.read_text()), kind="ntk", dtype="float32", train_images=24)["unchecked_accuracy"]
        for path in sorted((folder / "random_features").glob("*-draw-*.json"))
    ]
    assert picked.draws == 3
    assert picked.unchecked_accuracy == np.median(draws)
    assert (picked.unchecked_accuracy_low, picked.unchecked_accuracy_high) == (min(draws), max(draws))
    losses = tables["random_features_losses"]
    parts = losses.lost_to_width + losses.lost_without_ridge + losses.lost_to_rounding
    assert parts.to_numpy() == pytest.approx(losses.lost.to_numpy())
    published = tables["table2"].query("source != 'squares'")
    assert len(published) == 20
    assert published.accuracy_percent.max() == 95.70


def test_most_networks_singular_is_singular(folder: Path) -> None:
    section, results = open_section("random_features", folder)
    problems = results.problems.copy()
    rows = (problems.source == "features") & (problems.kind == "ntk") & (problems.dtype == "float64")
    assert (
        section.medians(results)[["source", "kind", "dtype", "condition_number"]]
        .query("source == 'features' and kind == 'ntk' and dtype == 'float64'")
        .condition_number.notna()
        .all()
    )
    problems.loc[rows & (problems.draw < 2), "condition_number"] = np.nan
    table = section.medians(replace(results, problems=problems))
    chosen = table[(table.source == "features") & (table.kind == "ntk") & (table.dtype == "float64")]
    assert len(chosen) and chosen.condition_number.isna().all()


class TestUnsolved:
    """Of the NTK, the first network is singular unless a ridge is added, the exact kernel as well."""

    @pytest.fixture
    def found(self, folder: Path) -> tuple[Any, Any]:
        section, results = open_section("random_features", folder)
        problems, paths = results.problems.copy(), results.ridge_path.copy()
        for frame, names in ((problems, ["accuracy", "condition_number"]), (paths, ["test_accuracy"])):
            rows = (frame.kind == "ntk") & frame.draw.isin([-1, 0])
            frame.loc[rows & (frame.get("ridge", 0.0) == 0), names] = np.nan
        rows = (problems.kind == "ntk") & (problems.draw == 0) & (problems.dtype == "float32")
        problems.loc[rows, "unchecked_accuracy"] = np.nan
        return section, replace(results, problems=problems, ridge_path=paths)

    def test_cells_and_captions_count(self, found: tuple[Any, Any]) -> None:
        section, results = found
        (_, beside), (caption, losses), _ = section.shown(results)
        row = beside.iloc[0]
        for name in ("RF, float32, plain solve", "RF, float64, no ridge"):
            assert row[name].endswith(", 1 singular")
        assert row["exact, no ridge"] == "singular" and "singular" not in row["RF, chosen ridge"]
        assert losses.lost[0].endswith("(2 of 3)") and "(" not in losses.lost[1]
        assert "No answer in 1 of 6 networks: Gaussian elimination meets a pivot of 0" in caption

    def test_losses_are_of_the_same_networks(self, found: tuple[Any, Any]) -> None:
        section, results = found
        row = section.losses(results).query("kind == 'ntk'").iloc[0]
        chosen = results.problems.query("kind == 'ntk' and train_images == 24 and draw > 0")
        single, double = (chosen[chosen.dtype == name] for name in plan.DTYPES)
        assert (row.solved, row.draws) == (2, 3)
        assert row.lost_without_ridge == pytest.approx(
            double.accuracy_loo_ridge.median() - double.unchecked_accuracy.median()
        )
        assert row.lost_to_rounding == pytest.approx(
            double.unchecked_accuracy.median() - single.unchecked_accuracy.median()
        )
        assert row.lost == pytest.approx(row.lost_to_width + row.lost_without_ridge + row.lost_to_rounding)
        table = section.tables(results)["table2"].query("source == 'squares' and draws == 3")
        assert table.solved.tolist() == [2]

    def test_headline_summary_and_figures(self, found: tuple[Any, Any]) -> None:
        section, results = found
        assert "; 2 of 3 networks have all answers)" in section.headline(results)[0]
        leaf = section.summary(results)["CNTK-V"]["depth_03"]["features_float64"]
        assert (leaf["accuracy_solved"], leaf["draws"]) == (2, 3) and "accuracy_loo_ridge_solved" not in leaf
        figures = section.figures(results)
        marks = [text.get_text() for text in figures["random_features_ridge_path"].axes[0].texts]
        assert sorted(marks) == ["2 of 3", "singular"]
        assert [text.get_text() for text in figures["random_features_condition"].axes[0].texts] == ["singular"] * 3
        assert all("<svg" in to_svg(figure) for figure in figures.values())

    def test_no_network_has_an_answer(self, folder: Path) -> None:
        section, results = open_section("random_features", folder)
        names = ["accuracy", "unchecked_accuracy", "condition_number"]
        results = replace(results, problems=results.problems.assign(**dict.fromkeys(names, np.nan)))
        texts = [*section.headline(results), *section.explanation(results)]
        for _, table in section.shown(results):
            texts += table.astype(str).to_numpy().ravel().tolist()
        assert not any("nan" in text for text in texts)
        assert "singular without a ridge" in section.explanation(results)[0]
        assert section.tables(results)["random_features_losses"].condition_exponent.isna().all()


def test_table2_has_one_row_a_kernel_and_its_own_dataset(folder: Path) -> None:
    section, results = open_section("random_features", folder)
    table = section.tables(results)["table2"]
    ours, published = table[table.source == "squares"], table[table.source != "squares"]
    assert ours[["column", "depth"]].duplicated().sum() == 0 and len(ours) == 2
    assert set(ours.dataset) == {results.study.dataset} and set(published.dataset) == {"CIFAR-2 (airplane, automobile)"}
    other = replace(results, problems=results.problems.assign(kernel="another kernel"))
    assert "squares" not in set(section.tables(other)["table2"].source)


@pytest.mark.parametrize("readout", ["flatten", "lap"])
def test_families_of_all_readouts_are_swept(folder: Path, readout: str) -> None:
    family = Family(readout, pooling_window=3 if readout == "lap" else None)
    swept = sweep_widths(folder / "squares.h5", "a", family, kinds=["ntk"], depth=3, widths=[4, 8], images=3, draws=2)
    assert np.isfinite(swept["sweeps"][0]["deviations"]).all()


def test_a_condition_that_does_not_grow_reaches_no_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section, results = open_section("random_features", folder)
    finite = section.losses(results).images_at_limit.notna()
    assert finite.any()
    monkeypatch.setattr(tables_module, "_exponent", lambda *_: -0.5)
    assert section.losses(results).images_at_limit.isna().all()


def test_section_is_written_the_same_twice(folder: Path) -> None:
    before = {path: path.read_bytes() for path in write_section("random_features", folder)}
    assert {path: path.read_bytes() for path in write_section("random_features", folder)} == before
    page = json.loads((folder / "sections" / "random_features.json").read_text())
    assert "lose most for" in page["headline"][0]
    assert [len(table["rows"]) for table in page["tables"]] == [1, 2, 1]


def test_notebook_runs(folder: Path) -> None:
    notebook = nbformat.read(Path(__file__).parents[5] / "notebooks" / "random_features.ipynb", as_version=4)
    shell = InteractiveShell()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            tagged = "parameters" in cell.metadata.get("tags", [])
            shell.run_cell(cell.source + (f"\nstudy_dir = {str(folder)!r}\n" if tagged else "")).raise_error()


def test_explanation_names_kernels_of_too_few_features(folder: Path) -> None:
    section, results = open_section("random_features", folder)
    texts = section.explanation(results)
    assert len(texts) == 2  # NTK and NNGP of one depth
    assert all("condition number" in text for text in texts)


def test_study_without_a_sweep_has_its_figure_all_the_same(folder: Path, tmp_path: Path) -> None:
    files = [path for path in (folder / "random_features").glob("*.json") if "sweep" not in path.name]
    section, results = open_section("random_features", folder, files=sorted(files))
    assert "no sweep in this study" in to_svg(section.figures(results)["width_sweep"])
    assert results.sweeps.empty
    assert len(section.shown(results)) == 2


def test_missing_exact_kernels_are_named(folder: Path) -> None:
    files = sorted((folder / "random_features").glob("*-draw-*.json"))
    with pytest.raises(UserError, match="no results of exact: run its jobs first"):
        open_section("random_features", folder, files=files)


def test_files_and_costs_follow_the_parameters() -> None:
    params = load_params("config/ci.yaml")
    names = list(plan.jobs(params))
    assert names == ["cntk-gap-draw-00", "cntk-gap-draw-01", "cntk-gap-exact", "cntk-gap-sweep"]
    (work,) = costs.expected_work(params)
    assert work.jobs == len(names) and work.products > 0 and work.torch and not work.gpu
    (on_gpu,) = costs.expected_work(params | {"kernels": params["kernels"] | {"backend": "cuda"}})
    assert on_gpu.gpu
    more = params | {"random_features": params["random_features"] | {"draws": 4, "sweep": None}}
    assert len(plan.jobs(more)) == 5
    assert plan.jobs(params | {"random_features": None}) == {}
    assert plan.train_sizes(200) == [200, 100, 50]
    assert plan.train_sizes(5) == [5, 2]
