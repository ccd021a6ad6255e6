import numpy as np
import pytest

from exact_cntk import cntk
from exact_cntk.errors import InputError, UserError
from exact_cntk.finite import CNN, _contract, empirical, empirical_kernel, random_features, width_sweep
from exact_cntk.finite._signals import plan_blocks, signals
from exact_cntk.finite._torch import torch

KINDS = ("ntk", "nngp")


def images(n, shape=(5, 4, 3), seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape))


LOCAL = {"readout": "lap", "pooling_window": 3}
READOUTS = [{"readout": "flatten"}, LOCAL, {"readout": "gap"}]


@pytest.mark.parametrize("filter_size", [1, 3, 5])
@pytest.mark.parametrize("readout", READOUTS)
def test_is_the_product_of_features(readout, filter_size):
    """Features are gradients by vmap and grad, one image and all weights at a time: another way altogether."""
    x, y = images(4), images(3, seed=1)
    options = {**readout, "filter_size": filter_size, "width": 8, "dtype": "float64", "get": KINDS}
    kernels = empirical_kernel(x, y, depths=[2, 4], trained=["all", "hidden"], draws=[3], **options)
    assert set(kernels) == {*(("ntk", d, t) for d in (2, 4) for t in ("all", "hidden")), ("nngp", 2), ("nngp", 4)}
    for depth in (2, 4):
        for trained in ("all", "hidden"):
            left, right = (random_features(z, depth=depth, trained=trained, draw=3, **options) for z in (x, y))
            ntk, nngp = (left[kind] @ right[kind].T for kind in KINDS)
            np.testing.assert_allclose(kernels["ntk", depth, trained][0], ntk, rtol=1e-11, atol=1e-12 * np.ptp(ntk))
            np.testing.assert_allclose(kernels["nngp", depth][0], nngp, rtol=1e-11, atol=1e-12 * np.ptp(nngp))


def test_features_are_those_of_finite_differences():
    x = images(1)
    options = {"depth": 3, "readout": "gap", "width": 3, "dtype": "float64"}
    gradient = random_features(x, **options)["ntk"][0]
    network = CNN(x.shape[1:], seed=[0, 3, 0], **options).requires_grad_(False)
    names = [name for name, _ in network.named_parameters()]
    assert names == ["readout_weight", "filters.0", "filters.1"]
    found = []
    for weight in network.parameters():
        flat = weight.view(-1)
        for i in range(len(flat)):
            before = flat[i].item()
            values = []
            for step in (1e-6, -1e-6):
                flat[i] = before + step
                values.append(network(torch.from_numpy(x)).item())
            flat[i] = before
            found.append((values[0] - values[1]) / 2e-6)
    np.testing.assert_allclose(gradient, found, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("trained", ["all", "hidden"])
def test_mean_is_the_exact_kernel(readout, trained):
    """Within 4 standard errors, and 2/width of the kernel's size for the finite networks' bias."""
    x, width, draws = images(3, (4, 4, 3)), 256, 24
    options = {"depths": 3, "trained": trained, "get": KINDS, **readout}
    exact = cntk(x, backend="reference", **options)
    for key, found in empirical_kernel(x, width=width, draws=draws, **options).items():
        error = found.std(axis=0, ddof=1) / np.sqrt(draws)
        size = np.sqrt(np.outer(exact[key].diagonal(), exact[key].diagonal()))
        assert (error < 0.05 * size).all()
        assert (np.abs(found.mean(axis=0) - exact[key]) < 4 * error + 2 * size / width).all()


@pytest.mark.parametrize(("depth", "width", "shape"), [(2, 4096, (6, 6, 3)), (3, 1024, (4, 4, 3))])
@pytest.mark.parametrize("readout", READOUTS)
def test_one_wide_network_has_the_exact_kernel(depth, width, shape, readout):
    """The norm deviates by 1/√width in the median, and by up to 4.4/√width (1,280 networks of width 64 to 512)."""
    x = images(4, shape)
    options = {"depths": depth, "get": KINDS, **readout}
    exact = cntk(x, backend="reference", **options)
    for key, found in empirical_kernel(x, width=width, **options).items():
        assert np.linalg.norm(found[0] - exact[key]) < 5 / np.sqrt(width) * np.linalg.norm(exact[key])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocks_do_not_change_the_result(dtype):
    x, y = images(7, (4, 3, 2)), images(5, (4, 3, 2), seed=1)
    options = {"depths": [2, 4], "readout": "gap", "width": 6, "dtype": dtype, "get": KINDS}
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    for others in (y, None):
        whole = empirical_kernel(x, others, **options)
        for budget in (0, 60e-6):
            for key, kernel in empirical_kernel(x, others, max_memory_gib=budget, **options).items():
                np.testing.assert_allclose(kernel, whole[key], rtol=tolerance, atol=tolerance * np.ptp(whole[key]))
                if others is None:
                    np.testing.assert_array_equal(kernel[0], kernel[0].T)


@pytest.mark.parametrize("filter_size", [1, 3, 7])
def test_both_ways_to_contract_a_layer_agree(filter_size):
    """Also where a filter is larger than the image, and where the two sets of images are of different sizes."""
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.standard_normal((n, 2, 3, 5))) for n in (3, 4))
    dx, dy = (torch.from_numpy(rng.standard_normal((n, 6, 3, 5))) for n in (3, 4))
    ways = _contract.contract_gradients, _contract.contract_pixels
    for scratch in (1, 30_000, 10**9):
        first, second = (way(x, dx, y, dy, filter_size, scratch).numpy() for way in ways)
        np.testing.assert_allclose(first, second, rtol=1e-12, atol=1e-12)


def test_the_cheaper_way_is_taken(monkeypatch):
    taken = []
    for name in ("contract_gradients", "contract_pixels"):
        monkeypatch.setattr(_contract, name, lambda *_, name=name: taken.append(name))

    def layer(n, channels, side):
        x = torch.zeros(1).expand(n, channels, side, side)
        _contract.layer_kernel(x, x, x, x, 3, 1)

    layer(500, 128, 32)
    layer(10, 4096, 4)
    assert taken == ["contract_gradients", "contract_pixels"]


def peak_bytes(call):
    """Most memory that torch's tensors took at a time in a call, by its profiler."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        call()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]).max()


@pytest.mark.parametrize(
    ("shape", "width", "depth", "budget", "options"),
    [
        ((8, 8, 1), 32, 4, 4 * 2**20, {}),
        ((4, 4, 3), 128, 3, 2**20, {}),
        ((8, 8, 1), 16, 21, 8 * 2**20, {"filter_size": 1}),  # signals outweigh products
        ((8, 8, 1), 32, 41, 4 * 2**20, {"get": "nngp", "filter_size": 1}),  # all layers together would be too many
        ((8, 8, 1), 32, 3, 4 * 2**20, {"get": "nngp", "filter_size": 5, "dtype": "float64"}),  # unfolded, 25 times
        ((2, 2, 3), 8, 3, 2**17, {"filter_size": 5}),  # padded to nine times as many pixels
    ],
)
def test_memory_keeps_to_its_bound(shape, width, depth, budget, options):
    n, q = 40, options.get("filter_size", 3)
    size = 8 if "dtype" in options else 4
    gradients = "get" not in options
    plan = plan_blocks(
        shape, layers=depth - 1, width=width, filter_size=q, itemsize=size, budget=budget, gradients=gradients
    )
    assert 1 < plan.images < n
    weights = size * width * q**2 * (shape[2] + (depth - 2) * width) + size * width * shape[0] * shape[1]
    x, y = (images(n, shape, seed=seed).astype(f"f{size}") for seed in (0, 1))

    def call():
        empirical_kernel(x, y, depths=depth, readout="flatten", width=width, max_memory_gib=budget / 2**30, **options)

    peak = peak_bytes(call)
    # Sets of images are copied once, weights twice.
    assert budget / 8 < peak < budget + 2 * weights + 2 * x.nbytes


def test_features_take_little_memory_beside_themselves():
    """Layers and gradients of a few images at a time, where those of all take 25 times what the features do."""
    x, found = images(400, (12, 12, 1)).astype(np.float32), {}
    peak = peak_bytes(lambda: found.update(random_features(x, depth=4, readout="gap", width=4, get=KINDS)))
    assert peak < 16 * (found["ntk"].nbytes + found["nngp"].nbytes)


def test_arithmetic_is_exact_whatever_the_caller_set():
    def state():
        cudnn = torch.backends.cudnn
        return torch.get_float32_matmul_precision(), cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32

    before = state()
    try:
        for precision in ("medium", "highest"):
            torch.set_float32_matmul_precision(precision)
            with empirical.exact_arithmetic():
                assert state() == ("highest", True, False, False)
            assert state() == (precision, *before[1:])
            with pytest.raises(RuntimeError), empirical.exact_arithmetic(tf32=True):
                assert state() == ("high", True, False, True)
                raise RuntimeError
            assert state() == (precision, *before[1:])
    finally:
        torch.set_float32_matmul_precision(before[0])


def test_one_call_has_the_same_bytes_as_another_and_draws_are_independent_of_each_other():
    x = images(3)
    options = {"depths": [3, 4], "readout": "flatten", "width": 8}
    kernels = empirical_kernel(x, draws=3, **options)
    again = empirical_kernel(x, draws=3, **options)
    alone = empirical_kernel(x, draws=[2], **options)
    other = empirical_kernel(x, draws=3, seed=1, **options)
    for key, kernel in kernels.items():
        np.testing.assert_array_equal(kernel, again[key])
        np.testing.assert_array_equal(kernel[2], alone[key][0])
        drawn = np.concatenate([kernel, other[key]])[:, 0, 0]
        assert len(np.unique(drawn)) == 6


def test_single_precision_has_the_same_networks():
    x = images(3)
    options = {"depths": 5, "readout": "gap", "width": 16, "get": KINDS}
    double = empirical_kernel(x, dtype="float64", **options)
    for key, kernel in empirical_kernel(x, **options).items():
        np.testing.assert_allclose(kernel, double[key], rtol=1e-4, atol=1e-6 * np.ptp(double[key]))


@pytest.mark.parametrize("scale", [2.0**-90, 2.0**90])
def test_scale_of_images_is_the_scale_of_the_result(scale):
    """In float32, whose range ends at 2^±126, squares included."""
    x, y = images(2), images(2, seed=1)
    options = {"depth": 3, "readout": "flatten", "width": 8}
    kernel = empirical_kernel(x, y, depths=3, readout="flatten", width=8)["ntk", 3]
    scaled = empirical_kernel(x * scale, y, depths=3, readout="flatten", width=8)["ntk", 3]
    np.testing.assert_array_equal(scaled, kernel * scale)
    features = random_features(x, **options)["ntk"]
    np.testing.assert_array_equal(random_features(x * scale, **options)["ntk"], features * np.float32(scale))


def test_overflow_is_refused():
    x = images(2)
    with pytest.raises(InputError, match="values so large that their products overflow float64"):
        empirical_kernel(x * 1e200, depths=3, readout="gap", width=4)
    with pytest.raises(InputError, match="overflow float32"):
        random_features(x * 1e50, depth=3, readout="gap", width=4)


def test_nothing_trained_is_a_kernel_of_zero():
    x = images(2)
    options = {"readout": "gap", "width": 4, "trained": "hidden"}
    assert not empirical_kernel(x, depths=2, **options)["ntk", 2].any()
    assert random_features(x, depth=2, **options)["ntk"].shape == (2, 0)


def test_signals_are_gradients_with_respect_to_each_layer():
    x = torch.from_numpy(images(2))
    network = CNN(x.shape[1:], depth=3, width=4, readout="flatten", dtype="float64").requires_grad_(False)
    found = signals(network, x, gradients=True)
    layers = network.activations(x)
    torch.testing.assert_close(list(found.inputs), layers[:-1])
    torch.testing.assert_close(found.features, network.features(x))
    # δ² = √(c_σ/(C q²)) W³ where the ReLU is on
    expected = network.layer_scale * network.readout_weight * (layers[2] > 0)
    torch.testing.assert_close(found.deltas[1], expected)
    shift = torch.zeros(2, 4, 5, 4, dtype=torch.float64)
    shift[1, 2, 3, 1] = 1e-6
    none = torch.zeros_like(shift)
    values = [network.read_out(network.pooled(network.activations(x, [s, none])[-1])) for s in (shift, -shift)]
    difference = (values[0] - values[1]) / 2e-6
    assert difference[1].item() == pytest.approx(found.deltas[0][1, 2, 3, 1].item(), rel=1e-6, abs=1e-9)
    assert difference[0].item() == 0


def test_progress_counts_every_pair_of_every_network():
    seen = []
    empirical_kernel(
        images(5), depths=[2, 3], readout="gap", width=4, draws=2, max_memory_gib=0, progress=lambda *s: seen.append(s)
    )
    assert {total for _, total in seen} == {2 * 2 * 15}
    assert [done for done, _ in seen] == list(range(1, 61))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width is 0; allowed are integers ≥ 1"),
        ({"width": None}, "width is None"),
        ({"draws": 0}, "draws is 0; allowed are integers ≥ 1"),
        ({"draws": []}, "draws is empty"),
        ({"draws": [-1]}, "draws is -1; allowed are integers ≥ 0"),
        ({"draws": "two"}, "draws is 'two'"),
        ({"seed": -1}, "seed is -1"),
        ({"dtype": "half"}, "dtype is 'half'"),
        ({"device": "gpu"}, "device is 'gpu'; allowed are 'cpu', 'cuda'"),
        ({"max_memory_gib": -1}, "max_memory_gib is -1"),
        ({"depths": 1}, "depths is 1"),
        ({"readout": "mean"}, "readout is 'mean'"),
        ({"trained": "some"}, "trained is 'some'"),
        ({"filter_size": 4}, "filter_size is 4"),
        ({"get": "nnpg"}, "did you mean 'nngp'"),
        ({"progress": 3}, "progress is 3"),
        ({"x2": images(2, (5, 5, 3))}, r"x2 has images of shape \(5, 5, 3\); allowed is x1's image shape \(5, 4, 3\)"),
        ({"x1": images(2)[0]}, r"x1 has shape \(5, 4, 3\); allowed are 4 dimensions"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(InputError, match=message):
        empirical_kernel(**{"x1": images(2), "depths": 3, "readout": "gap", "width": 4} | options)


def test_what_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(empirical, "total_memory", lambda: 10_000)
    with pytest.raises(InputError, match=r"50 kernels of 6 × 6 in float64.*: compute the kernel in blocks of images"):
        empirical_kernel(images(6), depths=3, readout="gap", width=2, draws=50)
    with pytest.raises(InputError, match="width 64 for weights of"):
        empirical_kernel(images(2), depths=3, readout="gap", width=64)
    with pytest.raises(InputError, match=r"x has 2 images .* trained weights"):
        random_features(images(2), depth=3, readout="gap", width=64)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_said():
    with pytest.raises(UserError, match=r"device is 'cuda', but torch .* finds no GPU"):
        empirical_kernel(images(2), depths=3, readout="gap", width=4, device="cuda")


@pytest.mark.parametrize(
    "call",
    [
        lambda x, **order: empirical_kernel(x, x, depths=3, readout="gap", width=4, **order)["ntk", 3],
        lambda x, **order: random_features(x, depth=3, readout="gap", width=4, **order)["ntk"],
        lambda x, **order: width_sweep(x, widths=[2, 4], depth=3, readout="gap", draws=2, **order).deviations,
    ],
)
def test_channels_first_is_refused_or_taken_as_said(call):
    first = images(3, (3, 6, 5))
    with pytest.raises(InputError, match=r"has shape \(3, 3, 6, 5\), which looks like"):
        call(first)
    expected = call(first.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(call(first, channels_first=True), expected)
    rows_of_three = call(first, channels_first=False)
    assert rows_of_three.shape != expected.shape or not np.allclose(rows_of_three, expected)
