"""The notation of general networks: what it stands for, what it refuses, and what a network costs."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch

from exact_cntk import Network
from exact_cntk.errors import InputError
from exact_cntk.kernels import recursion
from exact_cntk.networks import Conv, Dense, Flatten, Gap, Layer, Leaky, Pool, Relu, Residual

MYRTLE_5 = "conv3 relu conv3 relu pool2 conv3 relu pool2 conv3 relu gap dense"
MYRTLE_10 = "(conv3 relu)*3 pool2 (conv3 relu)*3 pool2 (conv3 relu)*3 gap dense"


@pytest.mark.parametrize(
    "text",
    [
        MYRTLE_5,
        MYRTLE_10,
        "(conv3 relu)*10 flatten dense",
        "conv3[stride=2,padding=valid,weight=1.44,bias=0.09] leaky[slope=0.2] pool2[stride=1] gap[stride=2] dense",
        "conv3 residual(relu conv3 relu conv3) relu gap dense",
        "(conv3 relu residual(conv3 relu conv3))*3 flatten dense",
        "(dense erf)*4 dense",
        "conv1 gabor conv5[padding=circular] abs conv3 gauss conv3 identity lap5 dense",
        "((conv3 relu)*3 pool2)*4 gap dense",
    ],
)
def test_text_is_given_back(text):
    network = Network(text)
    assert str(network) == text
    assert Network(str(network)) == network == Network(network.layers)
    assert eval(repr(network)) == network


def test_the_same_network_has_the_same_text():
    layers = [Conv(3), Relu(), Conv(3), Relu(), Conv(3), Relu(), Pool(2, stride=2), Gap(), Dense(weight=2)]
    assert str(Network(layers)) == "(conv3 relu)*3 pool2 gap dense"
    assert Network(" ((conv3  relu)*2 conv3 [ weight = 2.0 ] relu) *1 pool2 [stride=2] gap[] dense ") == Network(layers)
    assert Network("(conv3 relu)*2 flatten dense") == Network([Conv(3), Relu(), Conv(3), Relu(), Flatten(), Dense()])


def test_layers_keep_what_is_not_the_default():
    network = Network("conv5[bias=0.5] leaky[slope=0] residual(conv3 relu conv3) flatten dense")
    assert network.layers[:3] == (Conv(5, bias=0.5), Leaky(0.0), Residual((Conv(3), Relu(), Conv(3))))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("conv3 rellu flatten dense", "'rellu', did you mean 'relu'"),
        ("conv relu flatten dense", "'conv'; write conv3"),
        ("conv3 relu2 flatten dense", "'relu2'; write relu"),
        ("conv4 relu flatten dense", "size is 4"),
        ("conv3[strid=2] relu flatten dense", "'strid=2' in the brackets of conv3; allowed are stride, padding"),
        ("conv3[stride=2,stride=2] relu flatten dense", "each once"),
        ("conv3[stride=a] relu flatten dense", "conv: stride is 'a'; allowed is an integer"),
        ("conv3[stride=0] relu flatten dense", "conv: stride"),
        ("conv3[padding=same] relu flatten dense", "conv: padding is 'same'"),
        ("conv3[weight=0] relu flatten dense", "conv: weight is 0.0"),
        ("conv3[weight=nan] relu flatten dense", "conv: weight"),
        ("conv3[bias=-1] relu flatten dense", "conv: bias is -1.0"),
        ("relu[slope=1] flatten dense", "it has no options"),
        ("conv3 relu lap4 dense", "lap: window is 4"),
        ("conv3 relu pool0 gap dense", "pool: window"),
        ("conv3 relu flatten", "ends with flatten; its last layer must be dense"),
        ("", "has no layers"),
        ("conv3 relu relu flatten dense", "relu on an activation; put conv or dense between"),
        ("conv3 relu pool2 erf flatten dense", "erf on an activation"),
        ("relu flatten dense", "relu on the images"),
        ("conv3 relu residual(conv3 relu) flatten dense", "put conv or dense behind the last activation of its chain"),
        ("conv3 flatten relu dense", "relu on flatten; put conv or dense between"),
        ("conv3 lap3 erf dense", "erf on lap3; put conv or dense between"),
        ("conv3 flatten residual(relu dense) dense", "relu on"),
        ("conv3 residual(residual(relu conv3)) gap dense", "a chain without conv or dense of its own"),
        ("conv3 residual(residual(relu conv3) pool1) gap dense", "a chain without conv or dense of its own"),
        ("conv3 residual(relu) flatten dense", "a chain without conv or dense"),
        ("conv3 residual() flatten dense", "a chain without conv or dense"),
        ("residual(conv3) relu flatten dense", "on the images"),
        ("conv3 relu residual(conv3 relu conv3) relu flatten dense", "relu on an activation"),
        ("(conv3 relu flatten dense", r"a \( without a \)"),
        ("conv3 relu) flatten dense", r"a \) without a \("),
        ("(conv3 relu) flatten dense", r"without the number of its repetitions"),
        ("(conv3 relu)*0 flatten dense", "allowed are 1 to 10000 layers"),
        ("(conv3 relu)*99999999999999999999 flatten dense", "allowed are 1 to 10000 layers"),
        ("(((conv3 relu)*1000)*5)*1000 flatten dense", "allowed are 1 to 10000 layers"),
        ("(conv3 relu)*4000 (conv3 relu)*4000 flatten dense", "more than 10000 layers"),
        ("(" * 130 + "conv3", "more than 100 parentheses"),
        (
            "conv3 residual((residual((residual((conv3)*300))*300))*300) gap dense",
            "more than 10000 layers|1 to 10000 layers",
        ),
        ("conv3[\nfoo=1] relu flatten dense", r"'foo=1' in the brackets"),
        ("conv3[stride=" + "1" * 4000 + "a] gap dense", "conv: stride is '1111"),
        ("x" * 5000, "network has 'xxxx"),
        ("conv300000000000000 relu gap dense", "write conv3"),
        ("conv3 leaky[slope=1e300] gap dense", "leaky: slope is 1e.300"),
        ("conv3 relu, flatten dense", "', flatten dense'"),
        ("residual(conv3)*3 flatten dense", r"write \(residual\(…\)\)\*3"),
    ],
)
def test_one_clear_line_names_the_word(text, said):
    with pytest.raises(InputError, match=said) as error:
        Network(text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_numbers_of_any_type_are_those_of_the_text():
    layers = [
        Conv(np.int64(3), stride=np.int32(2), weight=np.float32(1.5), bias=torch.tensor(0.25)),
        Leaky(np.float64(1 / 3)),
        Pool(np.uint8(2), stride=np.int64(1)),
        Residual([Conv(3, weight=1e-7, bias=1e30)]),
        Gap(np.int64(2)),
        Dense(weight=3),
    ]
    network = Network(layers)
    assert Network(str(network)) == network
    assert hash(Network(str(network))) == hash(network)
    assert pickle.loads(pickle.dumps(network)) == copy.deepcopy(network) == network
    assert type(network.layers[0].size) is int and type(network.layers[0].bias) is float


class Own(Relu):
    """A layer that nothing knows to compute."""


def deep(nested):
    layer = Conv(3)
    for _ in range(nested):
        layer = Residual([layer, Conv(3)])
    return layer


def test_deep_chains_and_many_layers_have_a_text():
    network = Network([Conv(3), deep(20), Gap(), Dense()])
    assert Network(str(network)) == network
    sizes = np.random.default_rng(0).choice([1, 3, 5], 3000)
    network = Network([*(Conv(int(size)) for size in sizes), Gap(), Dense()])
    assert Network(str(network)) == network


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Conv(3.0), "conv: size is 3.0"),
        (lambda: Conv("3"), "conv: size is '3'"),
        (lambda: Conv(True), "conv: size is True"),
        (lambda: Conv(3, weight="2"), "conv: weight"),
        (lambda: Conv(3, bias=[1, 2]), "conv: bias"),
        (lambda: Leaky(float("inf")), "leaky: slope"),
        (lambda: Leaky([1.0]), "leaky: slope"),
        (lambda: Pool(2, stride=0), "pool: stride is 0"),
        (lambda: Residual(Conv(3)), "residual is Conv"),
        (lambda: Network([Conv(3)] * 20_000 + [Dense()]), "more than 10000 layers"),
        (lambda: deep(30), "more than 20 chains within each other"),
        (lambda: Network([Own(), Dense()]), r"network has .*Own"),
        (lambda: Network("conv3 relu gap dense").shapes((4,)), "image_shape"),
        (lambda: Network("conv3 relu gap dense").shapes((4, 0)), "image_shape"),
        (lambda: Network("conv3 relu gap dense").shapes((4.5, 3)), "image_shape"),
        (lambda: Residual(["conv3"]), "residual has 'conv3'"),
        (lambda: Network([Layer(), Dense()]), r"network has Layer\(\)"),
    ],
)
def test_layers_check_what_they_are_given(make, said):
    with pytest.raises(InputError, match=said):
        make()


@pytest.mark.parametrize("given", [3, None, ["conv3"], [Relu, Dense()], b"dense", {"dense"}])
def test_what_is_no_network(given):
    with pytest.raises(InputError, match="network"):
        Network(given)


@pytest.mark.parametrize(
    ("text", "shape", "said"),
    [
        ("conv3 relu dense", (4, 4), "dense is on images of 4×4 pixels; put flatten, gap or lap before it"),
        ("conv3 relu pool3 gap dense", (2, 9), "pool3 is on images of 2×9 pixels"),
        ("conv5[padding=valid] relu gap dense", (4, 8), "on images of 4×8 pixels"),
        ("conv3 residual(relu conv3[stride=2]) gap dense", (4, 4), "makes 2×2 of 4×4 pixels"),
    ],
)
def test_layers_that_do_not_fit_the_image(text, shape, said):
    with pytest.raises(InputError, match=said):
        Network(text).shapes(shape)


def test_shapes():
    network = Network("conv3[stride=2] relu conv3[padding=valid] relu pool2 conv3[stride=3,padding=circular] gap dense")
    assert network.shapes((13, 16, 3)) == [
        *[(13, 16), (7, 8), (7, 8), (5, 6), (5, 6), (2, 3), (1, 1), (1, 1), (1, 1)],
    ]


def test_work_of_the_known_networks():
    assert Network(MYRTLE_5).element_layers(1, (32, 32)) == 2 * 1024**2 + 256**2 + 64**2
    assert Network(MYRTLE_10).element_layers(3, (32, 32, 3)) == 9 * (1024**2 + 256**2 + 64**2)
    assert Network("(conv3 relu)*10 flatten dense").element_layers(1, (32, 32)) == 10 * 1024
    full, strided = (Network(f"(conv3 relu)*4 gap{s} dense").element_layers(1, (16, 16)) for s in ("", "[stride=4]"))
    assert full == 4 * 256**2
    assert strided * 16 == full


@pytest.mark.parametrize(
    "text",
    [
        "conv3 relu flatten dense",
        "conv3 relu pool2 flatten dense",
        "conv3 relu pool2 conv3 relu gap[stride=2] dense",
        "conv3[stride=2] relu conv3 relu lap3 dense",
        "conv3 residual(relu conv3) pool2 flatten dense",
        "conv3 relu gap[stride=3] dense",
        "conv3 relu conv3[stride=2,padding=circular] relu conv3[padding=circular] relu flatten dense",
        "conv3 relu conv3[padding=circular] relu pool2 flatten dense",
    ],
)
def test_work_is_at_the_displacements_that_the_output_depends_on(text, monkeypatch):
    """An activation's entry is needed if a change of it changes the kernel."""
    network, image_shape = Network(text), (6, 8)
    x, y = np.random.default_rng(0).standard_normal((2, 1, *image_shape, 2))
    variances = list(zip(*(recursion._variances(images, network, 1) for images in (x, y)), strict=True))
    own = recursion.dual_of

    def output(changed=None, entry=(0, 0, 0, 0)):
        numbers = itertools.count()

        def dual_of(layer):
            number = next(numbers)

            def changing(c, a, b):
                value, derivative = own(layer)(c, a, b)
                if number == changed:
                    value = value.copy()
                    value[(0, *entry)] += 1e-3
                return value, derivative

            return changing

        monkeypatch.setattr(recursion, "dual_of", dual_of)
        Sigma = recursion._first_covariances(x, y)[None]
        return recursion._run(network.layers, Sigma, recursion._in_turn(variances), None).item()

    same, count = output(), 0
    for number, (_, P, Q) in enumerate(layer.shape for layer, _ in variances):
        entries = list(itertools.product(range(P), range(Q), range(P), range(Q)))
        needed = {(k - i, m - j) for i, j, k, m in entries if output(number, (i, j, k, m)) != same}
        count += sum((k - i, m - j) in needed for i, j, k, m in entries)
    assert count == network.element_layers(1, image_shape)
