"""Parameters of sections: what contradicts itself or the study is refused, by key, value and what is allowed."""

import copy
from pathlib import Path

import pytest
import yaml

from exact_cntk.errors import InputError
from exact_cntk.study.params import check_params
from exact_cntk.study.passes import kernel_depths, kernel_passes
from exact_cntk.study.sections import KEYS, has_parameters, plan, present
from exact_cntk.study.sections._collect import all_passes
from exact_cntk.study.sections._section import NEEDS

ROOT = Path(__file__).parents[3]
SECTIONS = yaml.safe_load("""
cnns:
  families:
    - {name: cnn-v, readout: flatten, trained: all, filter_size: 3, depths: [3, 4, 6]}
    - {name: cnn-gap, readout: gap, trained: all, filter_size: 3, depths: [3, 4, 6]}
  width: 64
  output_scale: 0.05
  rates: [0.1, 1, 10]
  seeds: 3
  batch_images: 100
  max_epochs: 60
  averaged_epochs: 10
  validation_images: 200
  tf32: false
random_features:
  families: [cntk-v, cntk-gap]
  depths: [3, 4, 6]
  width: 32
  draws: 3
  train_images: 200
  test_images: 797
  sweep: {widths: [16, 32, 64], images: 20, depth: 3, draws: 5}
architectures:
  filter_sizes: [1, 3, 5]
  readouts: [flatten, lap, gap]
  pooling_windows: [3, 5]
  depths: [3, 4, 6, 11]
  trained: [all, hidden]
  flips: [false]
  train_images: 1000
  small_train_images: [50, 100]
  small_repeats: 5
""")


def study(**changes):
    """The default study with the sections above, and keys of them changed: cnns__rates=[1] is cnns.rates."""
    params = yaml.safe_load((ROOT / "config/digits.yaml").read_text(encoding="utf-8")) | copy.deepcopy(SECTIONS)
    for key, value in changes.items():
        *parents, last = [int(part) if part.isdecimal() else part for part in key.split("__")]
        holder = params
        for part in parents:
            holder = holder[part]
        holder[last] = value
    return params


def test_all_sections_and_none():
    check_params(study())
    check_params(study(**dict.fromkeys(SECTIONS)))
    check_params(study(random_features__sweep=None))


def left_out(*keys):
    """The default study with the sections above, without keys."""
    return {key: value for key, value in study().items() if key not in keys}


PARTS = ("prepare", "kernels", "solve")
WITH_PARAMETERS = list(filter(has_parameters, KEYS))


@pytest.mark.parametrize("key", [*PARTS, *WITH_PARAMETERS])
def test_what_is_left_out_is_null(key):
    # All that needs it is left out as well.
    without = {*PARTS[PARTS.index(key) :], *WITH_PARAMETERS} if key in PARTS else {key}
    checked = check_params(left_out(*without))
    assert all(checked[name] is None for name in without)
    assert checked == check_params(left_out() | dict.fromkeys(without))
    assert not without & set(present(checked))


def test_a_study_needs_neither_images_nor_kernels():
    checked = check_params({"study": "empty", "report": study()["report"]})
    assert checked["study"] == "empty"
    assert {key: value for key, value in checked.items() if value is None} == dict.fromkeys([*PARTS, *WITH_PARAMETERS])
    assert kernel_passes(checked) == kernel_depths(checked) == () == tuple(all_passes(checked))
    assert present(checked) == []


@pytest.mark.parametrize(
    ("key", "needed"),
    [("kernels", "prepare"), ("solve", "kernels")],
)
def test_a_part_is_refused_without_what_it_is_made_from(key, needed):
    for params in (left_out(needed, *WITH_PARAMETERS), left_out(*WITH_PARAMETERS) | {needed: None}):
        with pytest.raises(InputError, match=rf"^a\.yaml: {key}: needs {needed}, which is left out; give it, or leave"):
            check_params(params, source="a.yaml")


@pytest.mark.parametrize("key", WITH_PARAMETERS)
def test_a_section_is_refused_without_what_it_needs(key):
    others = [name for name in WITH_PARAMETERS if name != key]
    for count in range(1, len(PARTS) + 1):
        without = PARTS[-count:]
        gone = [NEEDS[need] for need in plan(key).SECTION.needs if NEEDS[need] in without]
        with pytest.raises(InputError, match=rf"^a\.yaml: {key}: needs \w+, but {gone[0]} is left out; give it, or "):
            check_params(left_out(*without, *others), source="a.yaml")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cnns": 5}, ["cnns: 5", "'object', 'null'"]),
        ({"cnns__rate": [1]}, ["cnns.rate: unknown key", "'rates'"]),
        ({"cnns__rates": [1, 0.1]}, ["cnns.rates: [1, 0.1]", "increase"]),
        ({"cnns__families__1__name": "cnn-v"}, ["cnns.families[1].name: 'cnn-v'", "twice"]),
        ({"cnns__families__0__filter_size": 2}, ["cnns.families[0].filter_size: 2", "odd"]),
        ({"cnns__families__0__depths": [4, 3]}, ["cnns.families[0].depths: [4, 3]", "increase"]),
        ({"cnns__validation_images": 1000}, ["cnns.validation_images: 1000", "prepare.train_images = 1000"]),
        ({"cnns__batch_images": 801}, ["cnns.batch_images: 801", "800 images"]),
        ({"cnns__averaged_epochs": 61}, ["cnns.averaged_epochs: 61", "cnns.max_epochs = 60"]),
        ({"random_features__families": ["cntk-vv"]}, ["families[0]: 'cntk-vv'", "'cntk-v'?", "cntk-gap"]),
        ({"random_features__depths": [3, 5]}, ["random_features.depths: depth 5 of cntk-v", "3, 4, 6, 11, 21"]),
        (
            {"random_features__train_images": 1001},
            ["random_features.train_images: 1001", "prepare.train_images = 1000"],
        ),
        ({"random_features__test_images": 798}, ["random_features.test_images: 798", "prepare.test_images = 797"]),
        (
            {"kernels__families__0__flips": True},
            ["random_features.families[0]: 'cntk-v' is averaged over flips", "without"],
        ),
        ({"kernels__kinds": ["nngp"], "small_data": None}, ["kernels.kinds: ['nngp']", "random_features", "add it"]),
        ({"kernels__kinds": ["nngp"], "random_features": None}, ["kernels.kinds: ['nngp']", "small_data", "add it"]),
        ({"random_features__sweep__widths": [32, 16]}, ["random_features.sweep.widths: [32, 16]", "increase"]),
        ({"random_features__sweep__images": 1001}, ["random_features.sweep.images: 1001", "1000"]),
        ({"architectures__filter_sizes": [1, 2]}, ["architectures.filter_sizes[1]: 2", "odd"]),
        ({"architectures__pooling_windows": [4]}, ["architectures.pooling_windows[0]: 4", "odd"]),
        ({"architectures__pooling_windows": [17]}, ["architectures.pooling_windows[0]: 17", "15"]),
        ({"architectures__pooling_windows": []}, ["architectures.pooling_windows: []", "lap needs"]),
        ({"architectures__readouts": ["gap"]}, ["architectures.pooling_windows: [3, 5]", "give []"]),
        ({"architectures__small_repeats": 11}, ["small_repeats: 11 sets of 100 images need 1100", "1000"]),
        ({"architectures__train_images": 1001}, ["architectures.train_images: 1001", "prepare.train_images = 1000"]),
        ({"architectures__small_train_images": [100, 50]}, ["architectures.small_train_images", "increase"]),
        ({"architectures__small_train_images": [1000]}, ["small_train_images: 1000", "train_images = 1000"]),
        ({"architectures__depths": [2], "architectures__trained": ["hidden"]}, ["architectures.trained", "hidden"]),
        (
            {"kernels__families__1__depth_passes": [[3, 4, 6, 11, 21], [2]]},
            ["kernels.families[1].depth_passes[1]: depth 2 of cntk-gap", "no hidden layer", "larger depth"],
        ),
        (
            {"cnns__families__1__trained": "hidden", "cnns__families__1__depths": [2, 3]},
            ["cnns.families[1].depths: depth 2 of cnn-gap", "no hidden layer"],
        ),
        ({"random_features__sweep__depth": 2}, ["random_features.sweep.depth: depth 2 of cntk-gap", "no hidden layer"]),
        (
            {"small_data__cnns__families__0__trained": "hidden", "small_data__cnns__families__0__depth": 2},
            ["small_data.cnns.families[0].depth: depth 2 of cnn-v", "no hidden layer"],
        ),
        ({"small_data__train_images": [9, 10]}, ["small_data.train_images: 9 is less than the 10 classes"]),
        (
            {"small_data__train_images": [10, 990]},
            ["small_data.train_images: 990 takes 99 images of each of 10 classes", "only 98 of one", "at most 980"],
        ),
        (
            {"prepare__selection": "stratified", "small_data__train_images": [10, 990]},
            ["small_data.train_images: 990 takes 99 images", "only 98 of one"],
        ),
        (
            {"prepare__dataset": "cifar10", "prepare__resolution": 8, "small_data__train_images": [10, 1001]},
            ["small_data.train_images: 1001 is more"],
        ),
        ({"solve__max_memory_gib": 1e-9}, ["solve.max_memory_gib: 1e-09 is too little for merging", "give more"]),
        ({"solve__max_memory_gib": 0.01}, ["solve.max_memory_gib: 0.01 is too little for", "give more"]),
    ],
)
def test_contradictions_name_key_value_and_remedy(changes, words):
    with pytest.raises(InputError) as error:
        check_params(study(**changes), source="a.yaml")
    message = str(error.value)
    assert message.startswith("a.yaml: ") and "\n" not in message
    for word in words:
        assert word in message
