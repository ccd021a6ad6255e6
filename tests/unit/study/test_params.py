"""The parameters: what is refused, in which words, and what follows from accepted ones."""

import copy
from pathlib import Path

import pytest
import yaml

from exact_cntk.blocks._sizes import BLOCK_BYTES, MAX_BLOCKS
from exact_cntk.errors import InputError, UserError
from exact_cntk.networks import Family
from exact_cntk.study.params import check_params, find_schema, load_params
from exact_cntk.study.passes import (
    kernel_blocks,
    kernel_depths,
    kernel_passes,
    pass_block_sizes,
    pass_memory,
    storage,
)
from exact_cntk.study.schema import read_schema

ROOT = Path(__file__).parents[3]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
FAMILY = PARAMS["kernels"]["families"][0]


def changed(key, value):
    """Copy the default parameters with one key set; a number in the dotted key is an index."""
    params = copy.deepcopy(PARAMS)
    *parents, last = [int(part) if part.isdecimal() else part for part in key.split(".")]
    holder = params
    for part in parents:
        holder = holder[part]
    holder[last] = value
    return params


def test_default_is_accepted_and_unchanged():
    before = copy.deepcopy(PARAMS)
    assert check_params(PARAMS) == before
    assert before == PARAMS


def test_passes_depths_and_blocks():
    params = changed("kernels.families.0.depth_passes", [[3, 6, 21], [4, 8]])
    assert [one.kernel_id for one in kernel_passes(params)] == [
        "cntk-v-d3-6-21",
        "cntk-v-d4-8",
        "cntk-gap-d3-4-6-11-21",
    ]
    assert [depth for family, depth in kernel_depths(params) if family == "cntk-v"] == [3, 4, 6, 8, 21]
    # Pool 0:500, 500:1000 and test 1000:1500, 1500:1797: three blocks of the triangle and four of the test part.
    for one in kernel_passes(params):
        assert len(kernel_blocks(params, one)) == 7


def test_families_with_local_pooling_and_flips():
    params = copy.deepcopy(PARAMS) | {"random_features": None}  # networks know no flips
    params["kernels"]["families"][0] |= {"readout": "lap", "pooling_window": 5, "flips": True}
    one, *_, other = kernel_passes(check_params(params))
    assert one.network == Family("lap", pooling_window=5, flips=True)
    assert other.network == Family("gap", ("hidden",))
    assert one.layers(1, (8, 8)) == 2 * (8 + 2 * (7 + 6 + 5 + 4)) ** 2 * 20
    params["kernels"]["families"][0]["pooling_window"] = 4
    with pytest.raises(InputError, match=r"kernels\.families\[0\]\.pooling_window: 4 is even"):
        check_params(params)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("sudy", "x", ["sudy", "'study'"]),
        ("solve.rigdes", [0], ["solve.rigdes", "'ridges'", "max_memory_gib"]),
        ("kernels.families.1.filtersize", 3, ["kernels.families[1].filtersize", "'filter_size'"]),
        ("solve.subsets.0.repeat", 1, ["solve.subsets[0].repeat", "'repeats'"]),
        ("prepare.dataset", "cifar", ["prepare.dataset", "'cifar'", "'cifar10'", "digits"]),
        ("kernels.families.0.readout", "flaten", ["kernels.families[0].readout", "'flatten'"]),
        ("kernels.kinds", ["nkt"], ["kernels.kinds[0]", "'ntk'"]),
        ("kernels.families.0.depth_passes", [[1, 3]], ["kernels.families[0].depth_passes[0][0]", "1", "2"]),
        ("kernels.families.0.depth_passes", [[4, 3]], ["depth_passes[0]", "[4, 3]", "increase"]),
        ("kernels.families.0.depth_passes", [[3], [3, 4]], ["depth_passes[1]", "depth 3", "earlier"]),
        ("kernels.families.0.filter_size", 4, ["filter_size", "4", "odd"]),
        ("kernels.families.0.readout", "lap", ["kernels.families[0].pooling_window", "missing", "lap"]),
        ("kernels.families.0.pooling_window", 3, ["kernels.families[0].pooling_window", "3", "flatten"]),
        ("kernels.families.0.pooling_window", "3x", ["kernels.families[0].pooling_window", "'3x'"]),
        ("kernels.families.0.flips", "maybe", ["kernels.families[0].flips", "'maybe'"]),
        ("kernels.families.0.name", "cntk-gap", ["kernels.families[1].name", "'cntk-gap'", "twice"]),
        ("kernels.block_images", 0, ["kernels.block_images", "0", "minimum"]),
        ("kernels.block_images", 1, ["kernels.block_images", "1297500 blocks", "larger"]),
        ("kernels.block_images", 20, ["kernels.block_images", "3275 blocks", "larger", "auto"]),
        ("kernels.block_images", "automatic", ["kernels.block_images", "'automatic'", "auto"]),
        ("prepare.resolution", 32, ["prepare.resolution", "32", "Digits", "8"]),
        ("prepare.source", "somewhere", ["prepare.source", "somewhere", "null"]),
        ("prepare.train_images", 1001, ["prepare.train_images", "1001", "1000"]),
        ("prepare.test_images", 798, ["prepare.test_images", "798", "797"]),
        ("prepare.classes", [3], ["prepare.classes", "[3]", "two"]),
        ("prepare.classes", [3, 3], ["prepare.classes", "non-unique"]),
        ("solve.subsets.1.repeats", 6, ["solve.subsets[1]", "1200", "1000"]),
        ("solve.subsets.1.train_images", 1000, ["solve.subsets[1]"]),
        ("solve.ridges", [1e-3, 1e-2], ["solve.ridges", "increase from 0"]),
        ("solve.ridges", [0, 1e-2, 1e-3], ["solve.ridges", "increase from 0"]),
        ("solve.ridges", [0, -1.0], ["solve.ridges[1]", "-1.0"]),
        ("solve.max_memory_gib", "16G", ["solve.max_memory_gib", "16G", "GiB"]),
        ("solve.max_memory_gib", 1e308, ["solve.max_memory_gib", "1e+308", "1000000"]),
        ("study", "My study", ["study", "My study", "hyphens"]),
        ("study", "digits\n", ["study", r"'digits\n'", "hyphens"]),
        ("study", "a{b}", ["study", "'a{b}'", "hyphens"]),
        ("study", "a" * 101, ["study", "too long"]),
        ("kernels.families.0.name", "cntk-v\n", ["kernels.families[0].name", r"'cntk-v\n'", "hyphen"]),
    ],
)
def test_refused(key, value, words):
    with pytest.raises(InputError) as error:
        check_params(changed(key, value))
    message = str(error.value)
    assert message.startswith("params.yaml: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_misspelt_key_is_named_before_the_missing_one():
    params = copy.deepcopy(PARAMS)
    params["solve"]["ridge"] = params["solve"].pop("ridges")
    with pytest.raises(InputError, match=r"solve\.ridge: unknown key, did you mean 'ridges'"):
        check_params(params)


def test_missing_key_is_named():
    params = copy.deepcopy(PARAMS)
    del params["kernels"]["families"][0]["trained"]
    with pytest.raises(InputError, match=r"kernels\.families\[0\]\.trained: this key is missing"):
        check_params(params)


def test_classes_limit_the_images_of_cifar10():
    params = changed("prepare", PARAMS["prepare"] | {"dataset": "cifar10", "resolution": 32, "classes": [0, 1]})
    check_params(params)
    params["prepare"]["test_images"] = 2001
    with pytest.raises(InputError, match="2001 is more than the 2000 images"):
        check_params(params)


@pytest.mark.parametrize("letter", ["{", "}", "\n", "\0", "\x1b", "\x85", "\u2028", "\ud800"])
def test_a_source_that_no_rule_can_name(letter):
    prepare = PARAMS["prepare"] | {"dataset": "cifar10", "resolution": 32}
    check_params(changed("prepare", prepare | {"source": "/data/CIFAR 10, größer/~$*?'\"\\.tar.gz"}))
    with pytest.raises(InputError) as error:
        check_params(changed("prepare", prepare | {"source": f"/data/{letter}.tar.gz"}))
    assert f"prepare.source: {f'/data/{letter}.tar.gz'!r} contains {letter!r}" in str(error.value)
    assert "make a link to it" in str(error.value)
    assert "\n" not in str(error.value)


def test_ridge_in_the_notation_of_yaml_1_2_is_a_number(tmp_path):
    # DVC writes 1e-08, which PyYAML reads as a string.
    text = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("[0, 1.0e-8, ", "[0, 1e-08, ")
    assert "1e-08" in text
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_params(path, find_schema())["solve"]["ridges"][1] == 1e-8


def test_unreadable_files_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml: cannot be read"):
        load_params(tmp_path / "nowhere.yaml")
    path = tmp_path / "broken.yaml"
    path.write_text("study: [\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.yaml: is not YAML") as error:
        load_params(path)
    assert "\n" not in str(error.value)
    for text in ("study: 2026-13-45\n", "[" * 10_000, "seed: " + "9" * 10_000):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=r"broken\.yaml: (is not YAML|.* is nested without end)"):
            load_params(path)
    path.write_text("- a list\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.yaml: the file"):
        load_params(path)


def test_every_key_of_the_schema_has_a_description():
    schema = read_schema(find_schema())

    def resolved(one):
        return schema["$defs"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one

    def properties(schema, key=""):
        for name, one in schema.get("properties", {}).items():
            yield f"{key}.{name}", resolved(one)
            yield from properties(resolved(one), f"{key}.{name}")
        if "items" in schema:
            yield f"{key}[]", resolved(schema["items"])
            yield from properties(resolved(schema["items"]), f"{key}[]")

    found = dict(properties(schema))
    assert {".study", ".solve.ridges", ".kernels.families[].depth_passes", ".random_features.sweep.widths"} <= set(
        found
    )
    for key, one in found.items():
        assert one.get("description") or key.endswith("[]"), key
        # The keys of the options are their source's, which refuses others.
        closed = one.get("additionalProperties") is False or key == ".prepare.options"
        assert closed or "object" not in one.get("type", []), key
        # DVC's run-cache does not see keys of these names.
        assert key.rsplit(".", 1)[-1] not in {"size", "nfiles"}


def test_most_blocks_of_any_preset():
    for path in (ROOT / "config").glob("*.yaml"):
        params = load_params(path)
        for one in kernel_passes(params):
            assert 0 < len(kernel_blocks(params, one)) <= MAX_BLOCKS


def cut(path, **kernels):
    """Sizes of the blocks of a preset, by family."""
    params = load_params(path)
    params["kernels"] |= kernels
    return {one.name: pass_block_sizes(check_params(params), one) for one in kernel_passes(params)}


def test_automatic_blocks_suit_the_pass_and_the_backend_that_is_named():
    path = ROOT / "config/cifar10-2k.yaml"
    named = {backend: cut(path, backend=backend)["cntk-gap"] for backend in ("cpu", "cuda")}
    assert named["cpu"].pool < named["cuda"].pool / 4
    # Where none is named, what takes a CPU longer than a night is cut for a GPU.
    assert cut(path)["cntk-gap"] == named["cuda"]
    assert cut(ROOT / "config/review.yaml") == cut(ROOT / "config/review.yaml", backend="cpu")
    assert cut(path, block_images=500)["cntk-gap"] == (500, 500)


def test_too_many_kernels_for_automatic_blocks():
    params = changed("kernels.block_images", "auto")
    params["kernels"] |= {"families": [FAMILY | {"depth_passes": [list(range(2, 1001))]}]}
    params["prepare"] |= {"dataset": "cifar10", "resolution": 32, "train_images": 50_000, "test_images": 10_000}
    with pytest.raises(InputError, match=r"kernels\.block_images: auto allows no blocks .* 1998 kernels .* passes"):
        check_params(params)


@pytest.mark.parametrize(("storage", "copies"), [("float64", 3), ("float32", 4)])
def test_memory_of_a_block_job(storage, copies):
    """The kernels, in float64, and twice the file: that of float32 has twice the entries."""
    params = load_params(ROOT / "config/cifar10-full.yaml")
    params["kernels"]["storage"] = storage
    one, _ = kernel_passes(params)
    images, blocks = 60_000 * 32 * 32 * 3 * 4, BLOCK_BYTES
    assert images + blocks < pass_memory(params, one) < images + copies * blocks + 2**30 + 1


def test_storage_is_float64_if_left_out():
    params = changed("kernels.storage", "float32")
    assert storage(check_params(params)) == "float32"
    del params["kernels"]["storage"]
    assert storage(check_params(params)) == "float64"
