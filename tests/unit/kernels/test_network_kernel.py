"""Kernels of general networks: against random finite networks, against the paper's family, and by their invariants."""

import numpy as np
import pytest

from exact_cntk import Network, cntk, kernel
from exact_cntk.errors import UserError
from exact_cntk.kernels import network_kernel
from exact_cntk.networks import Abs, Conv, Dense, Erf, Flatten, Gabor, Gap, Identity, Lap, Leaky, Pool, Relu, Residual

torch = pytest.importorskip("torch")

KINDS = ("ntk", "nngp")
FUNCTIONS = {
    Relu: lambda layer, u: u.relu(),
    Leaky: lambda layer, u: torch.nn.functional.leaky_relu(u, layer.slope),
    Abs: lambda layer, u: u.abs(),
    Erf: lambda layer, u: u.erf(),
    Gabor: lambda layer, u: torch.exp(-u * u) * u.sin(),
    Identity: lambda layer, u: u,
}


class FiniteNetwork:
    """A random network of the given layers, in the neural tangent parametrisation."""

    def __init__(self, network, width, seed):
        self.layers, self.width = network.layers, width
        self.generator = torch.Generator().manual_seed(seed)
        self.parameters = []

    def __call__(self, images):
        """One output for each image; the weights are drawn in the first call."""
        weights = iter(list(self.parameters)) if self.parameters else None
        return self._run(self.layers, torch.as_tensor(images).permute(0, 3, 1, 2), weights).flatten()

    def _run(self, layers, x, weights):
        for layer in layers:
            if isinstance(layer, Residual):
                x = x + self._run(layer.layers, x, weights)
            elif isinstance(layer, Conv | Dense):
                x = self._weighted(layer, x, weights)
            elif isinstance(layer, Pool):
                x = torch.nn.functional.avg_pool2d(x, layer.window, layer.step)
            elif isinstance(layer, Gap):
                x = x[:, :, :: layer.stride, :: layer.stride].mean(dim=(2, 3), keepdim=True)
            elif isinstance(layer, Lap):
                x = torch.nn.functional.avg_pool2d(x, layer.window, 1, layer.window // 2).reshape(len(x), -1, 1, 1)
            elif isinstance(layer, Flatten):
                x = x.reshape(len(x), -1, 1, 1)
            else:
                x = FUNCTIONS[type(layer)](layer, x)
        return x

    def _weighted(self, layer, x, weights):
        size, last = (layer.size, False) if isinstance(layer, Conv) else (1, layer is self.layers[-1])
        if weights is None:
            shapes = [(1 if last else self.width, x.shape[1], size, size), (1 if last else self.width,)]
            for shape in shapes:
                drawn = torch.randn(shape, generator=self.generator, dtype=torch.float64)
                self.parameters.append(drawn.requires_grad_())
            W, beta = self.parameters[-2:]
        else:
            W, beta = next(weights), next(weights)
        if isinstance(layer, Conv) and layer.padding != "valid":
            (top, bottom), (left, right) = (layer.margins(side) for side in x.shape[2:])
            mode = {"zero": "constant", "circular": "circular"}[layer.padding]
            x = torch.nn.functional.pad(x, (left, right, top, bottom), mode)
        fan_in = x.shape[1] * size**2
        x = torch.nn.functional.conv2d(x, W * (layer.weight / fan_in) ** 0.5, stride=getattr(layer, "stride", 1))
        return x + layer.bias**0.5 * beta[:, None, None]


NETWORKS = [
    "conv3 relu conv3 relu pool2 conv3 relu gap dense",
    "conv3[stride=2] relu conv3[padding=valid] relu flatten dense",
    "conv3[padding=circular,bias=0.2] leaky[slope=0.3] conv3[stride=2,padding=circular] abs gap dense[bias=0.5]",
    "conv3[bias=0.1] erf conv3 gabor pool2[stride=1] flatten dense[weight=1]",
    "conv3 residual(relu conv3[weight=1] relu conv1) relu lap3 dense",
    "conv1[weight=1] identity conv3 relu gap[stride=2] dense relu dense",
]


@pytest.mark.parametrize("text", NETWORKS)
def test_mean_of_random_networks(text):
    """Five standard errors, and what a finite width differs by from the limit."""
    network, draws, width = Network(text), 30, 48
    images = np.random.default_rng(0).standard_normal((3, 5, 6, 2))
    tangents, outputs = np.empty((2, draws, 3, 3))
    for draw in range(draws):
        finite = FiniteNetwork(network, width, draw)
        values = finite(images)
        rows = [torch.autograd.grad(value, finite.parameters, retain_graph=True) for value in values]
        gradients = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
        tangents[draw] = gradients @ gradients.T
        # The last layer's weights, given all others, are averaged exactly: of its gradients, W's are its features.
        features = torch.stack([torch.cat([part.flatten() for part in row[-2:]]) for row in rows])
        outputs[draw] = features @ features.T
    exact = kernel(network, images, get=KINDS, backend="reference")
    for kind, drawn in (("ntk", tangents), ("nngp", outputs)):
        error = drawn.std(axis=0, ddof=1) / draws**0.5
        scale = np.sqrt(np.outer(*[np.diag(exact[kind])] * 2))
        assert (np.abs(drawn.mean(axis=0) - exact[kind]) <= 5 * error + 1.5 / width * scale).all()
        assert (error < 0.1 * scale).all()  # or the test could not fail


@pytest.mark.parametrize("trained", ["all", "hidden"])
@pytest.mark.parametrize(
    "text", ["(conv3 relu)*3 flatten dense", "conv5 relu gap dense", "conv3 relu conv3 relu lap5 dense"]
)
def test_the_paper_s_family(text, trained):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 5, 6, 3)), rng.standard_normal((3, 5, 6, 3))
    member = network_kernel.in_family(Network(text))
    family = {"readout": member.family.readout, "pooling_window": member.family.pooling_window}
    options = {"filter_size": member.family.filter_size, "get": KINDS, "trained": trained, "backend": "reference"}
    expected = cntk(x, y, depths=member.depth, **family, **options)
    scale = 3 / 2 * (1 if member.family.readout == "gap" else 30)
    for backend in ("reference", "auto", "cpu"):
        K = kernel(text, x, y, get=KINDS, trained=trained, backend=backend, dtype="float64")
        for kind in KINDS:
            np.testing.assert_allclose(scale * K[kind], expected[kind, member.depth], rtol=1e-10)


def test_variances_on_the_fast_path():
    x = np.random.default_rng(0).standard_normal((4, 6, 5, 3))
    text = "conv3[weight=1] relu conv3[weight=3] relu gap dense[weight=0.5,bias=0.2]"
    for trained in ("all", "hidden"):
        fast, slow = (
            kernel(text, x, get=KINDS, trained=trained, backend=backend, dtype="float64")
            for backend in ("cpu", "reference")
        )
        for kind in KINDS:
            np.testing.assert_allclose(fast[kind], slow[kind], rtol=1e-10)


def test_fully_connected_networks_take_vectors():
    from exact_cntk import ntk

    x = np.random.default_rng(0).standard_normal((5, 7))
    K, expected = kernel("(dense relu)*3 dense", x, get=KINDS), ntk(x, depth=4, get=KINDS)
    for kind in KINDS:
        np.testing.assert_allclose(K[kind] * 7 / 2, expected[kind], rtol=1e-7)
    np.testing.assert_allclose(kernel("dense erf dense", x, x[:2])["ntk"], kernel("dense erf dense", x)["ntk"][:, :2])


@pytest.mark.parametrize("text", NETWORKS)
def test_symmetric_and_positive(text):
    x = np.random.default_rng(1).standard_normal((5, 5, 6, 2))
    x[1], x[2], x[3] = 0, 1, x[0]  # black, constant, a duplicate
    for trained in ("all", "hidden"):
        for K in kernel(text, x, get=KINDS, trained=trained, backend="reference").values():
            assert (K == K.T).all()
            assert np.linalg.eigvalsh(K)[0] > -1e-12 * K.max()
            np.testing.assert_allclose(K[0, 3], K[0, 0], rtol=1e-12)
    both = kernel(text, x, x, get=KINDS, backend="reference")
    for kind, K in kernel(text, x, get=KINDS, backend="reference").items():
        np.testing.assert_allclose(both[kind], K, rtol=1e-12, atol=1e-14)


def test_a_single_layer():
    x = np.random.default_rng(0).standard_normal((3, 4))
    K = kernel("dense[weight=1,bias=0.5]", x, get=KINDS)
    for kind in KINDS:
        np.testing.assert_allclose(K[kind], x @ x.T / 4 + 0.5)
    assert (kernel("dense", x, trained="hidden")["ntk"] == 0).all()


def test_extreme_variances_are_computed_or_refused():
    x = np.random.default_rng(0).standard_normal((3, 4, 4, 2))
    text = " ".join(f"conv3[weight={weight}] relu" for weight in (1e-200, 1e-200, 1e200, 1e200)) + " gap dense"
    large = kernel(text, 1e50 * x)["ntk"]
    np.testing.assert_allclose(large, kernel(text, 1e50 * x, backend="reference")["ntk"])
    assert (large > 0).all()
    for backend in ("auto", "reference"):
        with pytest.raises(UserError, match="overflows float64"):
            kernel("(conv3[weight=1e200] relu)*3 gap dense", x, backend=backend)
    with pytest.raises(UserError, match=r"does not compute conv3\[weight=1e\+200\]"):
        kernel("(conv3[weight=1e200] relu)*3 gap dense", x, backend="cpu")
    for backend in ("auto", "cpu", "reference"):
        with pytest.raises(UserError, match="overflows float64"):
            kernel("conv3[weight=1e90] relu gap dense", 1e120 * x, backend=backend)
    assert (kernel("conv3[weight=1e200] relu conv3[weight=1e200] relu gap dense", 0 * x)["ntk"] == 0).all()
    erf = kernel("conv3[bias=1e16] erf gap dense", x, get="nngp")["nngp"]
    np.testing.assert_allclose(erf, 2.0, rtol=1e-3)  # erf is ±1, and the same sign for all


def test_more_layers_than_the_fast_backends_take():
    x = np.ones((1, 2, 2, 1))
    assert kernel("(conv1 relu)*1000 flatten dense", x, get="nngp")["nngp"] == pytest.approx(2)


def test_a_black_image_under_a_bias():
    x = np.stack([np.zeros((4, 4, 1)), np.ones((4, 4, 1))])
    K = kernel("conv3[bias=1] relu gap dense[bias=0.5]", x, get=KINDS)
    # Σ = 1 behind the first bias: the ReLU leaves half of it, and the dense layer doubles that.
    assert K["nngp"][0, 0] == pytest.approx(1.5)
    assert K["ntk"][0, 0] == pytest.approx(1.5 + 1.0)
    plain = kernel("conv3 relu gap dense", x, get=KINDS)
    assert (plain["nngp"][0] == 0).all() and (plain["ntk"][0] == 0).all()


def test_hidden_fixes_the_first_and_the_last_layer():
    x = np.random.default_rng(0).standard_normal((3, 4, 4, 2))
    assert (kernel("conv3 erf gap dense", x, trained="hidden")["ntk"] == 0).all()
    for text in ("conv3 erf conv3 erf gap dense", "conv3 residual(erf conv3 erf conv3) relu flatten dense"):
        hidden, whole = (kernel(text, x, trained=trained)["ntk"] for trained in ("hidden", "all"))
        assert (np.diag(hidden) > 0).all() and (np.diag(hidden) < np.diag(whole)).all()


def test_several_networks():
    x = np.random.default_rng(0).standard_normal((3, 4, 4, 2))
    texts = ["conv3 relu gap dense", "conv3 erf gap dense"]
    K = kernel(texts, x, get=KINDS)
    assert list(K) == [("ntk", 0), ("nngp", 0), ("ntk", 1), ("nngp", 1)]
    for number, text in enumerate(texts):
        np.testing.assert_array_equal(K["ntk", number], kernel(text, x)["ntk"])
    one = kernel([Conv(3), Relu(), Gap(), Dense()], x)
    np.testing.assert_array_equal(one["ntk"], K["ntk", 0])


def test_progress_counts_pairs():
    calls = []
    kernel("conv3 erf gap dense", np.ones((4, 3, 3, 1)), progress=lambda *counts: calls.append(counts))
    assert calls[-1] == (10, 10)


X = np.ones((2, 4, 4, 1))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"network": "conv3 relu pool2 gap dense", "backend": "cpu"}, "backend is 'cpu', which does not compute pool2"),
        ({"network": "conv3[bias=1] relu gap dense", "backend": "cpu"}, r"does not compute conv3\[bias=1\]"),
        ({"network": "conv3 relu gap[stride=2] dense", "backend": "cpu"}, r"does not compute gap\[stride=2\]"),
        ({"network": "conv3 relu conv5 relu gap dense", "backend": "cpu"}, "does not compute conv5"),
        ({"network": "conv3 relu dense"}, "put flatten, gap or lap before it"),
        ({"network": []}, "network"),
        ({"network": [Conv(3), "gap", Dense()]}, "network has 'gap'"),
        ({"network": b"conv3 gap dense"}, "network is b'conv3"),
        ({"network": "dense relu dense", "x1": np.ones((2, 3)), "channels_first": "q"}, "channels_first"),
        ({"network": "conv3 relu gap dense", "get": "k"}, "get"),
        ({"network": "conv3 relu gap dense", "trained": "none"}, "trained"),
        ({"network": "conv3 relu gap dense", "backend": "gpu"}, "backend"),
        ({"network": "conv3 erf gap dense", "dtype": "int"}, "dtype"),
        ({"network": "conv3 erf gap dense", "threads": 0}, "threads"),
        ({"network": "conv3 relu pool2 gap dense", "x1": 1e200 * X}, "so large that the kernel overflows"),
        ({"network": "conv3 relu gap dense", "x2": np.ones((2, 4, 5, 1))}, "x2"),
        ({"network": "dense relu dense", "x1": np.ones((2, 3)), "x2": np.ones((2, 4))}, "x2 has 4 features"),
        ({"network": "dense relu dense", "x1": np.full((2, 3), np.nan)}, "x1"),
        ({"network": "conv3 erf gap dense", "x1": np.ones((1, 3000, 3000, 1))}, "memory"),
    ],
)
def test_one_clear_error(arguments, said):
    with pytest.raises(UserError, match=said):
        kernel(**({"x1": X} | arguments))
