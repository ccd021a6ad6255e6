"""The oracle against three others: a scalar transcription of the recurrences, Monte Carlo, and finite random nets."""

import math
from functools import cache

import numpy as np
import pytest

from exact_cntk.kernels import reference
from exact_cntk.kernels.spec import KernelSpec
from exact_cntk.networks import Family


def everything(depths: tuple[int, ...], readout: str, **parts) -> KernelSpec:
    return KernelSpec(Family(readout, ("all", "hidden"), **parts), depths, ("ntk", "nngp"))


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def scalar_kernels(x, y, spec):
    """The recurrences of one pair, pixel by pixel: no arrays beyond the images, no shared code."""
    P, Q, C = x.shape
    q, L = spec.family.filter_size, spec.depths[-1] - 1
    reach = range(-(q // 2), q // 2 + 1)
    inside = [(i, j) for i in range(P) for j in range(Q)]

    def box(f, p, r):
        moved = [((p[0] + a, p[1] + b), (r[0] + a, r[1] + b)) for a in reach for b in reach]
        return sum(f(s, t) for s, t in moved if s in inside and t in inside)

    @cache
    def sigma(h, u, v, p, r):
        a, b = (x, y)[u], (x, y)[v]
        if h == 0:
            return box(lambda s, t: sum(a[s][c] * b[t][c] for c in range(C)), p, r)
        return box(lambda s, t: k(h, u, v, s, t)[0], p, r)

    @cache
    def k(h, u, v, p, r):
        norms = math.sqrt(sigma(h - 1, u, u, p, p) * sigma(h - 1, v, v, r, r))
        rho = 0.0 if norms == 0 else sigma(h - 1, u, v, p, r) / norms
        rho = 1.0 if u == v and p == r else max(-1.0, min(1.0, rho))
        k0 = (math.pi - math.acos(rho)) / math.pi
        k1 = (rho * (math.pi - math.acos(rho)) + math.sqrt(1 - rho**2)) / math.pi
        return norms * k1 / q**2, k0 / q**2

    @cache
    def theta(h, trained, p, r):
        if h == 0:
            return sigma(0, 0, 1, p, r) if trained == "all" else 0.0
        return box(lambda s, t: k(h, 0, 1, s, t)[1] * theta(h - 1, trained, s, t) + k(h, 0, 1, s, t)[0], p, r)

    def entry(kind, h, trained, p, r):
        K, K_dot = k(h, 0, 1, p, r)
        if kind == "nngp":
            return K
        return K_dot * theta(h - 1, trained, p, r) + (K if trained == "all" else 0.0)

    assert L >= 1
    values = []
    for kind, depth, trained in spec.outputs:
        if spec.family.readout == "flatten":
            values.append(sum(entry(kind, depth - 1, trained, p, p) for p in inside))
        elif spec.family.readout == "gap":
            total = sum(entry(kind, depth - 1, trained, p, r) for p in inside for r in inside)
            values.append(total / len(inside) ** 2)
        else:
            c = spec.family.pooling_window // 2
            windows = [[p for p in inside if max(abs(p[0] - i), abs(p[1] - j)) <= c] for i, j in inside]
            total = sum(entry(kind, depth - 1, trained, p, r) for window in windows for p in window for r in window)
            values.append(total / spec.family.pooling_window**4)
    return np.array(values)


@pytest.mark.parametrize(("readout", "window"), [("flatten", None), ("gap", None), ("lap", 3)])
@pytest.mark.parametrize("filter_size", [1, 3, 5])
def test_equals_a_scalar_transcription(readout, window, filter_size):
    x, y = random_images(2, 3, 2, 2)
    spec = everything((2, 3, 4), readout, filter_size=filter_size, pooling_window=window)
    ours = reference.kernels_of_pairs(x[None], y[None], spec)[:, 0]
    np.testing.assert_allclose(ours, scalar_kernels(x, y, spec), rtol=1e-12, atol=1e-13)


def test_closed_forms_are_gaussian_expectations():
    """K = 2 E[relu(u) relu(v)] and K̇ = 2 P(u, v > 0) for (u, v) with the pixels' covariance, filter 1."""
    x, y = np.array([[[[1.0, 0.3]]]]), np.array([[[[0.2, -1.1]]]])
    ((_, K, K_dot),) = reference.covariances(x, y, 1, layers=1)
    weights = np.random.default_rng(0).standard_normal((2, 2_000_000))
    u, v = x.ravel() @ weights, y.ravel() @ weights
    for exact, samples in ((K, 2 * np.maximum(u, 0) * np.maximum(v, 0)), (K_dot, 2.0 * ((u > 0) & (v > 0)))):
        assert abs(exact.item() - samples.mean()) < 4 * samples.std() / math.sqrt(samples.size)


def finite_net(images, filter_size, layers, width, readout, rng):
    """Output features and each layer's gradient of one random CNN of the paper (section 4), for every image.

    x^h = √(2/(C_h q²)) relu(W^h ∗ x^{h−1}), f = ⟨W^{L+1}, x^L⟩ (or of its pixel mean), all weights N(0, 1).
    """
    n, P, Q = images.shape[:3]
    r = filter_size // 2

    def patches(x):  # (n, channels, P, Q) -> (n, channels·q², P·Q)
        padded = np.pad(x, ((0, 0), (0, 0), (r, r), (r, r)))
        shifts = [padded[:, :, a : a + P, b : b + Q] for a in range(filter_size) for b in range(filter_size)]
        return np.stack(shifts, axis=2).reshape(n, -1, P * Q)

    def scatter(g, channels):  # the transpose of `patches`
        padded = np.zeros((n, channels, P + 2 * r, Q + 2 * r))
        g = g.reshape(n, channels, filter_size, filter_size, P, Q)
        for a in range(filter_size):
            for b in range(filter_size):
                padded[:, :, a : a + P, b : b + Q] += g[:, :, a, b]
        return padded[:, :, r : r + P, r : r + Q].reshape(n, channels, P * Q)

    x = images.transpose(0, 3, 1, 2)
    scale = math.sqrt(2 / (width * filter_size**2))
    inputs, weights, active = [], [], []
    for _ in range(layers):
        inputs.append(patches(x))
        weights.append(rng.standard_normal((width, inputs[-1].shape[1])))
        z = weights[-1] @ inputs[-1]
        active.append(scale * (z > 0))
        x = (scale * np.maximum(z, 0)).reshape(n, width, P, Q)
    features = x.reshape(n, width, P * Q)
    if readout == "gap":
        features = features.mean(axis=2)
        back = np.broadcast_to(rng.standard_normal((width, 1)) / (P * Q), (n, width, P * Q))
    else:
        back = np.broadcast_to(rng.standard_normal((width, P * Q)), (n, width, P * Q))
    gradients = []
    for h in reversed(range(layers)):
        delta = back * active[h]
        gradients.insert(0, np.einsum("nbp,nap->nba", delta, inputs[h], optimize=True).reshape(n, -1))
        if h > 0:
            back = scatter(weights[h].T @ delta, width)
    return features.reshape(n, -1), gradients


@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_wide_random_nets_have_these_kernels(readout):
    images = random_images(2, 3, 4, 2, seed=1)
    spec = everything((4,), readout)
    exact = dict(zip(spec.outputs, reference.compute(images, None, spec).kernels, strict=True))
    rng = np.random.default_rng(2)
    sampled = {output: [] for output in spec.outputs}
    for _ in range(16):
        features, gradients = finite_net(images, 3, 3, 192, readout, rng)
        kernels = [g @ g.T for g in gradients]
        sampled["nngp", 4, None].append(features @ features.T)
        sampled["ntk", 4, "all"].append(sum(kernels) + features @ features.T)
        sampled["ntk", 4, "hidden"].append(sum(kernels[1:]))
    for output, samples in sampled.items():
        error = np.std(samples, axis=0, ddof=1) / math.sqrt(len(samples))
        # 4 standard errors, and 1/width for the finite net's bias
        assert (np.abs(np.mean(samples, axis=0) - exact[output]) < 4 * error + exact[output] * 2 / 192).all(), output
        assert (error < 0.06 * exact[output]).all()  # the bound above is not an empty one


def test_same_patches_in_other_places_have_correlation_one():
    """A shape moved in front of a black background: at depth 2 every patch of one image is in the other as well."""
    x = np.zeros((2, 9, 9, 2))
    shape = random_images(3, 3, 2) + 0.1
    x[0, 2:5, 2:5] = shape
    x[1, 4:7, 3:6] = shape
    for kernel in reference.compute(x, None, everything((2,), "gap")).kernels:
        np.testing.assert_allclose(kernel, kernel[0, 0], rtol=1e-14)


def test_same_patches_at_deeper_layers_know_the_border():
    """Black pixels equal the padding at the first layer; later only if their whole neighbourhood was black."""
    x = np.zeros((1, 1, 4, 1))
    x[0, 0, 3] = 1.0
    same = reference.same_patches((x[:, :, :, None, None] == x[:, None, None]).all(-1), x, x, 3)
    assert same[0, 0, 0, 0, 1]  # (0, 0, 0) and (0, 0, 0): the padding equals the black pixel
    norms = reference.box_image((x**2).sum(-1), 3)
    np.testing.assert_array_equal(norms[0, 0], [0, 0, 1, 1])
    later = reference.same_patches(same, norms[..., None], norms[..., None], 3)
    assert not later[0, 0, 0, 0, 1]  # pixel 2 is no longer 0


def test_diagonal_recursion_is_the_tensors_diagonal():
    x = random_images(1, 4, 3, 2)
    norms = reference.box_image((x**2).sum(axis=-1), 3)
    for Sigma, K, K_dot in reference.covariances(x, x, 3, layers=4):
        np.testing.assert_allclose(np.einsum("bijij->bij", Sigma), norms, rtol=1e-13)
        np.testing.assert_allclose(np.einsum("bijij->bij", K), norms / 9, rtol=1e-13)
        np.testing.assert_allclose(np.einsum("bijij->bij", K_dot), 1 / 9, rtol=1e-15)
        norms = reference.box_image(norms / 9, 3)


def test_black_images_have_kernel_zero():
    x = random_images(3, 4, 4, 1)
    x[1] = 0
    for readout in ("flatten", "gap"):
        kernels = reference.compute(x, None, everything((2, 4), readout)).kernels
        assert np.isfinite(kernels).all()
        assert (kernels[:, 1] == 0).all()


def test_one_pass_gives_every_depth():
    x = random_images(3, 4, 3, 2)
    together = everything((2, 3, 5), "gap")
    apart = {}
    for depth in together.depths:
        spec = everything((depth,), "gap")
        apart |= dict(zip(spec.outputs, reference.compute(x, None, spec).kernels, strict=True))
    for output, kernel in zip(together.outputs, reference.compute(x, None, together).kernels, strict=True):
        np.testing.assert_array_equal(kernel, apart[output])


def test_symmetric_case_equals_the_general_one_and_reports_half_the_pairs(monkeypatch):
    monkeypatch.setattr(reference, "TENSOR_BYTES", 8 * 12**2 * 4)  # batches of 4 pairs
    x = random_images(5, 4, 3, 2)
    spec = everything((3,), "flatten")
    calls = []
    symmetric = reference.compute(x, None, spec, progress=lambda done, total: calls.append((done, total))).kernels
    assert calls == [(4, 15), (8, 15), (12, 15), (15, 15)]
    np.testing.assert_array_equal(symmetric, symmetric.transpose(0, 2, 1))
    np.testing.assert_allclose(symmetric, reference.compute(x, x, spec).kernels, rtol=1e-13)


def test_hidden_layers_of_depth_two_are_none():
    spec = KernelSpec(Family("gap", ("hidden",)), (2,), ("ntk",))
    assert (reference.compute(random_images(2, 3, 3, 1), None, spec).kernels == 0).all()


@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_the_largest_filters_change_only_the_scale(readout):
    x, y = random_images(2, 3, 4, 2)
    spec = everything((3,), readout, filter_size=7)  # 2·4 − 1 pixels cover the image from each of its own
    largest = everything((3,), readout, filter_size=1001)
    kernels = [reference.kernels_of_pairs(x[None], y[None], case) for case in (spec, largest)]
    np.testing.assert_allclose(kernels[1], kernels[0] * (7 / 1001) ** 4, rtol=1e-12)  # 1/q² for each of two layers
