"""Names that a study makes: no two are the same, and each is one that the workflow's rules can make."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exact_cntk.errors import InputError
from exact_cntk.study.names import RESERVED_NAMES
from exact_cntk.study.params import check_params, load_params
from exact_cntk.study.sections import KEYS, has_parameters
from exact_cntk.study.sections.architectures.plan import passes as architecture_passes
from exact_cntk.study.sections.cnns.plan import run_name

ROOT = Path(__file__).parents[3]
DIGITS = yaml.safe_load((ROOT / "config/digits.yaml").read_text(encoding="utf-8"))
RATE = r"[\d.e+-]+"


def study(*families, **sections):
    """The default study with more families, each a name or (name, depth passes), and keys of sections changed."""
    params = copy.deepcopy(DIGITS)
    for family in families:
        name, passes = family if isinstance(family, tuple) else (family, [[3, 4, 6]])
        one = {"name": name, "readout": "flatten", "trained": "all", "filter_size": 3, "depth_passes": passes}
        params["kernels"]["families"].append(one)
    for key, changes in sections.items():
        params[key] |= changes
    return params


def assert_refused(params, *words):
    with pytest.raises(InputError) as error:
        check_params(params)
    message = str(error.value)
    assert message.startswith("params.yaml: ") and "\n" not in message
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize("passes", [[[3, 4, 6]], [[3, 4], [6]], [[11]]], ids=str)
def test_a_family_may_not_be_called_as_one_of_the_grid(passes):
    # With the depths of the grid its blocks would be the grid's, of another readout.
    for one in architecture_passes(DIGITS):
        assert_refused(
            study((one.name, passes)),
            f"kernels.families[2].name: {one.name!r}",
            "the grid of architectures already has",
            "choose another name",
        )
    check_params(study(("arch-f3-lap3", passes)) | {"architectures": None})
    check_params(study(("arch-f3-lap5", passes)))  # no window of the grid


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_a_family_may_not_be_called_as_a_rule(name):
    rule = name.replace("-", "_")
    words = f"kernels.families[2].name: {name!r} gives the rule {rule!r}, which the workflow already has"
    assert_refused(study(name), words)
    # whichever sections the study has
    assert_refused(study(name) | dict.fromkeys(filter(has_parameters, KEYS)), f"{name!r} gives the rule")


def test_reserved_names_are_possible_names_and_cover_the_summary():
    pattern = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
    assert all(map(pattern.fullmatch, RESERVED_NAMES))
    assert {"solve", "report", "all", "metrics", "kernels", "summary", "notebook", "kernel-block"} <= RESERVED_NAMES
    for key in KEYS:  # in summary.json beside the families
        assert {key.replace("_", "-"), f"show-{key.replace('_', '-')}"} <= RESERVED_NAMES


def test_networks_and_kernels_share_a_folder_of_small_data():
    small = DIGITS["small_data"]
    network = small["cnns"]["families"][0] | {"name": "x-depth-04"}
    kernels = [{"family": "network-x", "depth": 4}]
    params = study("network-x", small_data={"kernels": kernels, "cnns": small["cnns"] | {"families": [network]}})
    assert_refused(
        params,
        "small_data.cnns.families[0].name: 'x-depth-04'",
        "'small_data/network-x-depth-04'",
        "small_data.kernels[0].family already has",
    )
    params["small_data"]["cnns"]["families"][0]["name"] = "x-depth-05"
    check_params(params)


def test_names_that_only_look_alike_are_fine():
    features = {"families": ["a", "a-draw-00", "a-exact", "a-sweep"], "depths": [3]}
    names = ("a", "a-draw-00", "a-exact", "a-sweep", "a-d3", "a-depth-03", "network-a", "rbf", "a-d3-4-6", "ab")
    check_params(study(*names, random_features=features))


def test_a_pass_of_too_many_depths_for_the_name_of_a_folder():
    depths = list(range(2, 90))
    message = assert_refused(study(("x", [depths])), "kernels.families[2].depth_passes[0]: ", "has a name of 258 char")
    assert "255" in message and len(message) < 300
    check_params(study(("x", [depths[:-1], depths[-1:]])))
    params = study(architectures={"depths": depths})
    assert_refused(params, "architectures.depths: ", "arch-f1-flatten-d2-3", "give fewer")


def test_equal_rates_are_refused_and_near_ones_are_two():
    for key in ("cnns", "small_data"):
        for rates in ([10, 10.0], ["10", "1e1"], [10.000000000000001, 10.000000000000002]):
            params = copy.deepcopy(DIGITS)
            (params[key] if key == "cnns" else params[key]["cnns"])["rates"] = rates
            if float(rates[0]) == float(rates[1]):
                assert_refused(params, "rates: [10", "does not increase")
            else:
                check_params(params)


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (10, "10"),
        (10.0, "10"),
        (0.1, "0.1"),
        (1e-5, "1e-05"),
        (10.1234567, "10.1234567"),
        (10.1235, "10.1235"),
        (123456789, "123456789.0"),
        (1 / 3, "0.3333333333333333"),
        (1e300, "1e+300"),
        (2.2250738585072014e-308, "2.2250738585072014e-308"),
    ],
)
def test_the_name_of_a_run_holds_its_rate(rate, text):
    assert run_name(rate, 7, "test") == f"rate-{text}-seed-7-test"


@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False) | st.integers(1, 2**53))
def test_any_rate_is_read_back_from_its_name(rate):
    (text,) = re.fullmatch(rf"rate-({RATE})-seed-0-validation", run_name(rate, 0, "validation")).groups()
    assert float(text) == rate


@pytest.mark.parametrize("preset", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_preset_is_accepted(preset):
    load_params(preset)
