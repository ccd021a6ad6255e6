import numpy as np
import pytest

from exact_cntk import cntk
from exact_cntk.errors import InputError
from exact_cntk.finite import convergence, empirical_kernel, width_sweep


def images(n=4, shape=(4, 4, 3)):
    return np.random.default_rng(0).standard_normal((n, *shape))


@pytest.mark.parametrize(
    ("readout", "kind"), [("flatten", "ntk"), ("lap", "ntk"), ("gap", "ntk"), ("lap", "nngp"), ("gap", "nngp")]
)
def test_deviation_falls_as_one_over_the_root_of_the_width(readout, kind):
    """A 99.9 % interval: terms of 1/width are small at depth 3 from width 32 on."""
    options = {"readout": readout, "pooling_window": 3 if readout == "lap" else None, "get": kind}
    sweep = width_sweep(images(), widths=[256, 32, 64, 128], depth=3, draws=24, confidence=0.999, **options)
    np.testing.assert_array_equal(sweep.widths, [32, 64, 128, 256])
    assert sweep.deviations.shape == (4, 24)
    assert sweep.interval[0] < -0.5 < sweep.interval[1]
    assert sweep.interval[1] - sweep.interval[0] < 0.8
    assert sweep.interval[0] < sweep.slope < sweep.interval[1] < -0.1


def test_deviations_are_relative_norms():
    x, options = images(), {"readout": "gap", "trained": "hidden", "filter_size": 5}
    sweep = width_sweep(x, widths=(8, 4), depth=4, draws=2, seed=3, **options)
    exact = cntk(x, depths=4, backend="reference", **options)["ntk", 4]
    found = empirical_kernel(x, depths=4, width=8, draws=2, seed=3, **options)["ntk", 4]
    expected = [np.linalg.norm(kernel - exact) / np.linalg.norm(exact) for kernel in found]
    np.testing.assert_allclose(sweep.deviations[1], expected, rtol=1e-6)


def test_slope_and_interval_of_a_known_line():
    """Against the textbook: residuals ±r about log d = 1 − w/2; S_xx and s² written out; t(0.975, 4) = 2.776445."""
    widths, r = np.array([8, 16, 32]), 0.1
    line = np.exp(1 - np.log(widths) / 2)
    slope, (low, high) = convergence.fit_slope(widths, np.stack([line * np.exp(r), line * np.exp(-r)], axis=1), 0.95)
    error = np.sqrt(6 * r**2 / 4 / (4 * np.log(2) ** 2))
    assert slope == pytest.approx(-0.5)
    assert (low, high) == pytest.approx((-0.5 - 2.776445 * error, -0.5 + 2.776445 * error))


def test_interval_covers_at_its_rate():
    rng = np.random.default_rng(0)
    widths, covered = np.array([32, 64, 128, 256]), 0
    for _ in range(400):
        deviations = widths[:, None] ** -0.5 * np.exp(0.4 * rng.standard_normal((4, 6)))
        _, (low, high) = convergence.fit_slope(widths, deviations, 0.9)
        covered += low < -0.5 < high
    assert abs(covered / 400 - 0.9) < 4 * np.sqrt(0.9 * 0.1 / 400)


def test_progress_counts_widths():
    seen = []
    width_sweep(
        images(2),
        widths=[2, 3],
        depth=2,
        readout="gap",
        draws=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": [8, 8]}, r"widths are \[8\] and draws 10; a slope's interval takes two widths"),
        ({"widths": 8}, r"widths are \[8\]"),
        ({"widths": [8, 0]}, "widths is 0; allowed are integers ≥ 1"),
        ({"draws": 1}, "three networks"),
        ({"draws": 0}, "draws is 0"),
        ({"confidence": 1}, "confidence is 1; allowed are numbers between 0 and 1"),
        ({"get": "both"}, "get is 'both'"),
        ({"depth": 1}, "depth is 1"),
        ({"trained": ["all"]}, "trained is"),
        ({"depth": 2, "trained": "hidden"}, "the ntk kernel of depth 2 with trained='hidden' is 0 on x"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(InputError, match=message):
        width_sweep(images(2), **{"widths": [4, 8], "depth": 3, "readout": "gap"} | options)
