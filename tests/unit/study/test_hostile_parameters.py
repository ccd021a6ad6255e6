"""Any value in any key: refused in one line that names the key, or a plan of bounded size. `make soak` tries more."""

from pathlib import Path

import hostile
import pytest
import yaml

from exact_cntk.errors import InputError
from exact_cntk.study.limits import MAX_JOBS
from exact_cntk.study.params import check_params

ROOT = Path(__file__).parents[3]
CI, DIGITS = (yaml.safe_load((ROOT / f"config/{name}.yaml").read_text(encoding="utf-8")) for name in ("ci", "digits"))
KEYS = list(hostile.keys(CI, most=1))


@pytest.mark.parametrize("value", [60.0, 10**9, 1e308, -1, 0, [], "x\n", True, None], ids=repr)
def test_every_key(value):
    refused = [hostile.outcome(hostile.changed(CI, path, value), path) for path in KEYS]
    assert any(refused)
    if value in (10**9, 1e308):
        # taken where no work depends on it: what is larger than the images is all of them
        taken = {".".join(map(str, path)) for path, message in zip(KEYS, refused, strict=True) if not message}
        assert taken <= {
            *("prepare.seed", "report.seed", "small_data.seed", "kernels.block_images"),
            *("small_data.cnns.batch_images", "small_data.cnns.max_train_images"),
            *("small_data.cnns.rates.0", "small_data.inverse_penalties.0"),
        }


def families(number, **parts):
    return [{"name": f"a{i}", "readout": "gap", "trained": "all", "filter_size": 3} | parts for i in range(number)]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (
            ("cnns", "seeds"),
            1000,
            ["cnns.families with their depths (6) × cnns.rates (2) × cnns.seeds", "(1001): 12012 jobs of cnns"],
        ),
        (
            ("random_features",),
            DIGITS["random_features"] | {"families": [f"a{i}" for i in range(20)], "draws": 1000},
            ["random_features.families (20) × random_features.draws (1000): 20000 jobs"],
        ),
        (
            ("architectures",),
            DIGITS["architectures"]
            | {key: list(range(1, 1001, 2)) for key in ["filter_sizes", "pooling_windows"]}
            | {"readouts": ["lap"]},
            ["architectures.filter_sizes (500) × architectures.readouts and pooling_windows", "jobs of architectures"],
        ),
        (
            ("kernels",),
            DIGITS["kernels"] | {"block_images": 30, "families": families(20, depth_passes=[[3]])},
            ["kernels.families and kernels.block_images: the study has", "blocks of 20 passes", "larger blocks"],
        ),
        (
            ("random_features",),
            DIGITS["random_features"] | {"families": ["cntk-v", "cntk-gap"], "draws": 1000},
            ["random_features: the names of its 2004 files have", "characters"],
        ),
    ],
)  # fmt: skip
def test_products_of_keys_are_limited(path, value, words):
    params = hostile.changed(DIGITS, path, value)
    if path == ("kernels",):
        params |= dict.fromkeys(["cnns", "random_features", "small_data", "architectures"])
    with pytest.raises(InputError) as error:
        check_params(params)
    for word in words:
        assert word in str(error.value)
    assert str(MAX_JOBS) in str(error.value) or "characters" in str(error.value)
