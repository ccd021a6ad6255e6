"""Sources of images: what they say beforehand is what is read, and one more is a class and a line of the registry."""

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

from exact_cntk.cli.data import app
from exact_cntk.data import SOURCES, Dataset, Description, Source, describe, load_cifar10, load_digits, load_processed
from exact_cntk.data._prepare import _choose
from exact_cntk.data.sources import pool_classes
from exact_cntk.errors import InputError
from exact_cntk.study.estimate import estimate_study
from exact_cntk.study.params import check_params, load_params
from exact_cntk.study.passes import image_shape
from exact_cntk.study.show import references

CI = Path(__file__).parents[3] / "config/ci.yaml"
N_TRAIN, N_TEST = 90, 60


class Squares(Source):
    """Grey images of 6×5 pixels, brighter from class to class."""

    needs_files = False
    verifiable = False
    options: ClassVar = {"step": 20}

    def describe(self, prepare):
        """Nothing depends on the parameters."""
        return Description(
            name="Squares",
            shape=(6, 5, 1),
            full_scale=99,
            resolutions=(6,),
            class_names=("dark", "grey", "bright"),
            train_images=N_TRAIN,
            test_images=N_TEST,
        )

    def load(self, prepare):
        """Draw them."""
        generator, labels = np.random.default_rng(0), np.arange(N_TRAIN + N_TEST) % 3
        shade = prepare["options"]["step"] * labels[:, np.newaxis, np.newaxis, np.newaxis]
        images = (shade + generator.integers(0, 20, (len(labels), 6, 5, 1))).astype(np.uint8)
        return Dataset(
            name="Squares (made up)",
            verified=False,
            source_digest="0" * 64,
            class_names=("dark", "grey", "bright"),
            full_scale=99,
            train_images=images[:N_TRAIN],
            train_labels=labels[:N_TRAIN],
            test_images=images[N_TRAIN:],
            test_labels=labels[N_TRAIN:],
        )


@pytest.fixture
def squares(monkeypatch):
    """Register them, and give the parameters of a study of them."""
    monkeypatch.setitem(SOURCES, "squares", Squares())
    params = load_params(CI)
    params["prepare"] |= {"dataset": "squares", "resolution": 6, "allow_unverified": True, "options": {"step": 30}}
    return params


def run(*arguments, error=None):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if error is not None:
        assert isinstance(result.exception, error), result.output
        return str(result.exception)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", SOURCES)
def test_numbers_by_class_are_those_in_all(name):
    images = describe({"dataset": name})
    assert len(images.images_by_class) == len(images.class_names)
    assert tuple(map(sum, zip(*images.images_by_class, strict=True))) == (images.train_images, images.test_images)
    assert images.resolutions[0] == images.shape[0]
    for resolution in images.resolutions:
        assert images.shape[0] % resolution == images.shape[1] % (images.shape[0] // resolution) == 0


def test_digits_are_as_described():
    images = describe({"dataset": "digits"})
    data = SOURCES["digits"].load({})
    assert (data.name, data.full_scale, data.class_names) == (images.name, images.full_scale, images.class_names)
    assert data.train_images.shape == (images.train_images, *images.shape)
    assert data.test_images.shape == (images.test_images, *images.shape)
    counts = [np.bincount(labels).tolist() for labels in (data.train_labels, data.test_labels)]
    assert images.images_by_class == tuple(zip(*counts, strict=True))


def test_cifar10_is_as_described(folder):
    images, data = describe({"dataset": "cifar10"}), load_cifar10(folder, allow_unverified=True)
    assert (data.full_scale, data.class_names) == (images.full_scale, images.class_names)
    assert data.train_images.shape[1:] == images.shape
    loaded = SOURCES["cifar10"].load({"source": folder, "allow_unverified": True})
    assert loaded.source_digest == data.source_digest


def test_resolution_and_classes_are_what_is_described():
    images = describe({"dataset": "cifar10", "resolution": 8, "classes": [9, 0, 3]})
    assert images.shape == (8, 8, 3)
    assert images.class_names == ("truck", "airplane", "cat")
    assert (images.train_images, images.test_images) == (15_000, 3000)
    digits = describe({"dataset": "digits", "classes": [1, 0]})
    assert (digits.train_images, digits.test_images) == (201, 159)
    assert digits.images_by_class == ((102, 80), (99, 79))


def test_sides_may_differ():
    images = dataclasses.replace(describe({"dataset": "cifar10"}), shape=(32, 48, 3))
    assert images.select(8, ()).shape == (8, 12, 3)
    assert images.select(None, ()).shape == (32, 48, 3)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        ({"dataset": "cifar"}, "dataset: 'cifar' is unknown, did you mean 'cifar10'?; allowed: digits, cifar10"),
        ({"dataset": "digits", "source": "a"}, "source: 'a' with dataset digits, which needs none; set it to null"),
        ({"dataset": "cifar10", "resolution": 12}, "resolution: 12 is not possible with CIFAR-10; allowed: 32, 16, 8"),
        ({"dataset": "cifar10", "classes": [0, 10]}, "classes: 10 is no class of CIFAR-10; allowed: 0 to 9"),
        ({"dataset": "cifar10", "classes": [0, -1]}, "classes: -1 is no class of CIFAR-10; allowed: 0 to 9"),
        ({"dataset": "cifar10", "classes": [0, True]}, "classes: True is no class of CIFAR-10; allowed: 0 to 9"),
        ({"dataset": "digits", "classes": [4]}, "classes: [4] must be at least two different ones, or [] for all"),
        ({"dataset": "digits", "options": {"a": 1}}, "options.a: unknown key; allowed: none"),
        ({"dataset": "squares", "allow_unverified": False}, "allow_unverified: false with dataset squares, "),
        (
            {"dataset": "squares", "options": {"stop": 1}},
            "options.stop: unknown key, did you mean 'step'?; allowed: step",
        ),
        (
            {"dataset": "squares", "options": {"step": "1"}},
            "options.step: '1' is not allowed; give a value of type int",
        ),
        (
            {"dataset": "squares", "options": {"step": True}},
            "options.step: True is not allowed; give a value of type int",
        ),
    ],
)
@pytest.mark.usefixtures("squares")
def test_refused(prepare, said):
    with pytest.raises(InputError) as error:
        describe(prepare)
    assert str(error.value).startswith(said)


def test_files_that_are_not_downloaded_must_be_given(monkeypatch):
    monkeypatch.setattr(type(SOURCES["cifar10"]), "download", None)
    with pytest.raises(InputError, match=r"source: null with dataset cifar10, which is not downloaded"):
        describe({"dataset": "cifar10", "source": None})
    assert describe({"dataset": "cifar10", "source": "a.tar.gz"}).shape == (32, 32, 3)


def test_a_new_source_is_prepared(tmp_path, squares):
    out = tmp_path / "squares.h5"
    said = run(
        "prepare",
        "squares",
        "--allow-unverified",
        "--options",
        '{"step": 30}',
        "--class",
        2,
        "--class",
        0,
        "--out",
        out,
    )
    data = load_processed(out)
    assert said.startswith(f"{out}: Squares (made up), 60 training and 40 test images of 6x5x1, 2 classes")
    assert data.class_names == ("bright", "dark")
    assert data.parameters["options"] == {"step": 30}
    assert data.train_images.shape[1:] == image_shape(squares["prepare"])
    run("prepare", "squares", "--allow-unverified", "--out", out)
    assert load_processed(out).parameters["options"] == {"step": 20}
    assert load_processed(out).mean < data.mean
    for wrong in ("step=3", "[1]", '{"step": 3'):
        said = run("prepare", "squares", "--options", wrong, "--out", out, error=InputError)
        assert said.startswith(f"--options: {wrong!r} is no JSON object")


def test_parameters_of_a_new_source_are_checked(squares):
    assert check_params(squares)["prepare"] == squares["prepare"]
    squares["architectures"]["pooling_windows"] = [11]  # 2·6 − 1 reaches every pixel from every other
    check_params(squares)
    for key, value, said in (
        ("resolution", 5, "prepare.resolution: 5 is not possible with Squares; allowed: 6"),
        ("train_images", N_TRAIN + 1, f"prepare.train_images: {N_TRAIN + 1} is more than the {N_TRAIN} images"),
        ("test_images", N_TEST + 1, f"prepare.test_images: {N_TEST + 1} is more than the {N_TEST} images"),
        ("classes", [0, 3], "prepare.classes: 3 is no class of Squares; allowed: 0 to 2"),
        ("options", {"step": 1.5}, "prepare.options.step: 1.5 is not allowed"),
        ("allow_unverified", False, "prepare.allow_unverified: false with dataset squares"),
    ):
        with pytest.raises(InputError) as error:
            check_params(squares | {"prepare": squares["prepare"] | {key: value}})
        assert said in str(error.value)
    squares["architectures"]["pooling_windows"] = [13]
    with pytest.raises(InputError, match=r"pooling_windows\[0\]: 13 is more than 11"):
        check_params(squares)


def test_a_study_of_a_new_source_has_a_cost(squares):
    estimate = estimate_study(check_params(squares), calibration_seconds=0)
    pairs = 60 * 61 // 2 + 40 * 60
    assert "of 6x5x1" in estimate.table()
    assert [cost.element_layers for cost in estimate.costs[:2]] == [pairs * 3 * entries for entries in (30, 30**2)]
    memory = {section.key: section.memory for section in estimate.sections}
    assert memory.keys() == {"cnns", "random_features", "architectures", "small_data"}
    # Three classes take fewer weights than ten.
    squares["prepare"] |= {"dataset": "digits", "resolution": 8, "allow_unverified": False, "options": {}}
    other = estimate_study(check_params(squares), calibration_seconds=0)
    assert all(
        memory[section.key] < section.memory for section in other.sections if section.key in ("cnns", "small_data")
    )


@pytest.mark.parametrize("verb", ["prepare", "fetch"])
def test_unknown_names_are_refused_with_the_nearest(tmp_path, verb):
    said = run(verb, "cifar-10", "--out", tmp_path / "a", error=InputError)
    assert said == "dataset: 'cifar-10' is unknown, did you mean 'cifar10'?; allowed: digits, cifar10"


def test_only_what_is_downloaded_is_fetched(tmp_path):
    said = run("fetch", "digits", "--out", tmp_path, error=InputError)
    assert said == "dataset: digits is not downloaded; allowed: cifar10"


def test_help_lists_the_sources():
    assert "digits, cifar10" in run("prepare", "--help")


def test_the_papers_table_is_of_cifar10():
    table, images = references.read()["table1"], describe({"dataset": "cifar10"})
    assert (table["dataset"], table["classes"]) == (images.name, len(images.class_names))
    assert table["test_images"] == images.test_images
    assert {column["train_images"] for column in table["columns"]} == {2000, images.train_images}


def test_describing_loads_neither_numpy_nor_scikit_learn():
    code = "import sys, json; from exact_cntk.data import describe; describe({'dataset': 'digits'}); "
    code += "print(json.dumps(sorted({'numpy', 'sklearn', 'h5py', 'torch'} & {*sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_classes_of_the_pool_are_known_before_it_is_read():
    digits = load_digits()
    assert SOURCES["digits"].train_labels() == digits.train_labels.tolist()
    prepare = {"dataset": "digits", "source": None, "allow_unverified": False, "options": {}, "classes": [3, 1]}
    for selection in ("first", "stratified"):
        for images in (1, 2, 57, 201):
            given = prepare | {"selection": selection, "train_images": images}
            chosen = _choose(digits.train_labels, [3, 1], selection, 5, "train_images", images)
            counts = Counter(digits.train_labels[chosen].tolist())
            assert sorted(pool_classes(given)) == sorted(counts.values())
    cifar = prepare | {"dataset": "cifar10", "train_images": 3}
    assert pool_classes(cifar | {"selection": "stratified"}) in ([2, 1], [1, 2])
    assert pool_classes(cifar | {"selection": "first"}) is None  # in the archive
    assert pool_classes(cifar | {"selection": "stratified", "allow_unverified": True}) is None
