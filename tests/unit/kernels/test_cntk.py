import doctest
import subprocess
import sys
import tracemalloc
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

import exact_cntk
from exact_cntk import cntk
from exact_cntk.errors import InputError, UserError
from exact_cntk.kernels import cntk as cntk_module
from exact_cntk.kernels.spec import Computed, KernelSpec
from exact_cntk.networks import Family

OPTIONS = {"readout": "gap", "backend": "reference"}


def images(n=3, shape=(4, 3, 2), seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape))


@pytest.fixture
def backend(monkeypatch):
    """A backend that records what it is called with and numbers its outputs."""
    calls = []

    def compute(x1, x2, spec, *, dtype, threads, progress):
        calls.append({"x1": x1, "x2": x2, "spec": spec, "dtype": dtype, "threads": threads, "progress": progress})
        if progress is not None:
            progress(1, 2)
            progress(2, 2)
        m = len(x1 if x2 is None else x2)
        return Computed(np.arange(len(spec.outputs), dtype=float)[:, None, None] + np.zeros((len(x1), m)), 0.5)

    module = SimpleNamespace(compute=compute, streams_rows=False)
    monkeypatch.setattr(cntk_module, "load_backend", lambda name: module)
    return calls


def test_keys_are_kind_and_depth():
    kernels = cntk(images(), images(2, seed=1), depths=[4, 2], get=("nngp", "ntk"), **OPTIONS)
    assert set(kernels) == {("ntk", 2), ("ntk", 4), ("nngp", 2), ("nngp", 4)}
    assert all(kernel.shape == (3, 2) and kernel.dtype == np.float64 for kernel in kernels.values())


def test_a_sequence_of_trained_layers_adds_them_to_the_keys():
    x = images()
    both = cntk(x, depths=3, trained=("all", "hidden"), get=("ntk", "nngp"), **OPTIONS)
    assert set(both) == {("ntk", 3, "all"), ("ntk", 3, "hidden"), ("nngp", 3)}
    for trained in ("all", "hidden"):
        alone = cntk(x, depths=3, trained=trained, **OPTIONS)
        np.testing.assert_array_equal(alone["ntk", 3], both["ntk", 3, trained])


def test_all_layers_are_hidden_ones_first_and_last(backend):
    kernels = cntk(images(), depths=(3, 5), readout="flatten", trained=["hidden"], get=["nngp", "ntk"])
    assert {key: kernel[0, 0] for key, kernel in kernels.items()} == {
        ("nngp", 3): 0,
        ("nngp", 5): 1,
        ("ntk", 3, "hidden"): 2,
        ("ntk", 5, "hidden"): 3,
    }


def test_backend_gets_what_the_user_asked_for(backend):
    x = images().astype(np.float32)
    cntk(x, x.astype(np.float64), depths=3, readout="flatten", filter_size=5, dtype="float64", threads=2)
    (call,) = backend
    assert call["spec"] == KernelSpec(Family("flatten", filter_size=5), (3,), ("ntk",))
    assert (call["dtype"], call["threads"], call["progress"]) == ("float64", 2, None)
    assert call["x1"].dtype == call["x2"].dtype == np.float64


def test_progress_goes_to_the_callable_or_to_a_bar(backend, capsys):
    seen = []
    cntk(images(), depths=3, readout="gap", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    cntk(images(), depths=3, readout="gap", progress=True)
    captured = capsys.readouterr()
    assert "100%" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("exponent", [-500, -90, 90, 500])
def test_images_of_any_scale_are_brought_into_range(exponent):
    """Their squares would overflow, or vanish, even in float64: K(2^a x, 2^b x′) = 2^(a+b) K(x, x′) is used exactly."""
    x, y = images(), images(2, seed=1)
    scaled = x.copy()
    scaled[1] = np.ldexp(x[1], exponent)
    kernel = cntk(scaled, y, depths=3, **OPTIONS)["ntk", 3]
    expected = cntk(x, y, depths=3, **OPTIONS)["ntk", 3]
    np.testing.assert_allclose(kernel[[0, 2]], expected[[0, 2]], rtol=1e-15)
    np.testing.assert_allclose(kernel[1], np.ldexp(expected[1], exponent), rtol=1e-14)


def test_a_kernel_beyond_float64_is_refused():
    with pytest.raises(InputError, match="x1 and x2 have values so large"):
        cntk(images() * 1e300, depths=3, **OPTIONS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x1": np.zeros((4, 3, 2))}, "x1 has shape"),
        ({"x1": np.full((1, 4, 3, 2), np.nan)}, "x1 must be finite"),
        (
            {"x2": images(shape=(3, 4, 2))},
            r"x2 has images of shape \(3, 4, 2\); allowed is x1's image shape \(4, 3, 2\)",
        ),
        ({"x2": np.zeros((0, 4, 3, 2))}, "x2 has shape"),
        ({"depths": 1}, "depths is 1; allowed are integers ≥ 2"),
        ({"filter_size": 2}, "filter_size is 2; allowed are odd"),
        ({"readout": "GAP"}, "readout is 'GAP'; allowed are 'flatten', 'lap', 'gap'; did you mean 'gap'"),
        ({"trained": "hiden"}, "trained is 'hiden'; .*did you mean 'hidden'"),
        ({"get": "ntks"}, "get is 'ntks'"),
        ({"backend": "gpu"}, "backend is 'gpu'; allowed are 'auto', 'reference', 'cpu', 'cuda'"),
        ({"dtype": "float16"}, "dtype is 'float16'; allowed are 'float32', 'float64'"),
        ({"dtype": np.float64}, "dtype is <class 'numpy.float64'>"),
        ({"threads": 0}, "threads is 0; allowed are integers ≥ 1"),
        ({"progress": "bar"}, "progress is 'bar'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        cntk(**{"x1": images(), "depths": 3, **OPTIONS} | arguments)


def test_cuda_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(UserError, match=r"backend 'cuda' is not available: it needs CuPy .*exact-cntk\[cuda\]"):
        cntk(images(), depths=3, readout="gap", backend="cuda")


def test_a_result_larger_than_the_machine_is_refused(backend, monkeypatch):
    monkeypatch.setattr(cntk_module, "total_memory", lambda: 8 * 17)
    with pytest.raises(InputError, match=r"2 kernels of 3 × 3 in float64.*blocks of images, or fewer depths"):
        cntk(images(), depths=[3, 4], readout="gap")
    assert not backend


def test_importing_the_package_imports_none_of_the_heavy_ones():
    code = (
        "import sys, exact_cntk; exact_cntk.cntk; exact_cntk.ntk; "
        "print({'torch', 'scipy', 'sklearn', 'pandas', 'tqdm'} & set(sys.modules), sorted(dir(exact_cntk))[:2])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set() ['CNTKClassifier', 'CNTKRegressor']"


def test_unknown_attributes_of_the_package_are_errors():
    with pytest.raises(AttributeError, match="no attribute 'CNTK'"):
        _ = exact_cntk.CNTK


@pytest.mark.parametrize("module", ["kernels.cntk", "kernels.ntk", "regression.kernel_regression", "estimators"])
def test_examples_of_the_docstrings_run(module):
    results = doctest.testmod(import_module(f"exact_cntk.{module}"))
    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize("architecture", [{"readout": "flatten", "flips": True}, {"readout": "gap"}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_diagonal_alone_is_that_of_the_matrix(architecture, dtype):
    x = np.random.default_rng(0).standard_normal((19, 6, 5, 2)) * np.r_[1e9, np.ones(18)][:, None, None, None]
    options = {"depths": [2, 5], "get": ("ntk", "nngp"), "trained": ("all", "hidden"), "dtype": dtype, **architecture}
    matrices, seen = cntk(x, **options), []
    diagonals = cntk(x, diagonal=True, progress=lambda *step: seen.append(step), **options)
    assert list(diagonals) == list(matrices)
    for key, matrix in matrices.items():
        np.testing.assert_array_equal(diagonals[key], matrix.diagonal())
    assert seen == [(i, 19) for i in range(1, 20)]
    with pytest.raises(InputError, match="x2 is given, but diagonal is True"):
        cntk(x, x, diagonal=True, **options)


def test_the_diagonal_takes_memory_for_no_matrix():
    x = np.random.default_rng(0).standard_normal((400, 2, 2, 1))
    tracemalloc.start()
    cntk(x, depths=2, readout="flatten", diagonal=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 400**2 / 4


def test_channels_first_is_refused_or_taken_as_said():
    first, second = (np.random.default_rng(i).standard_normal((3, 3, 6, 5)) for i in (0, 1))
    options = {"depths": 3, "readout": "gap", "get": "ntk"}
    with pytest.raises(InputError, match=r"x1 has shape \(3, 3, 6, 5\), which looks like"):
        cntk(first, second, **options)
    expected = cntk(*(x.transpose(0, 2, 3, 1) for x in (first, second)), **options)
    assert list(expected) == [("ntk", 3)]
    found = cntk(first, second, channels_first=True, **options)["ntk", 3]
    np.testing.assert_array_equal(found, expected["ntk", 3])
    rows_of_three = cntk(first, second, channels_first=False, **options)["ntk", 3]
    # rows and columns may change places: this is the same kernel of images three rows high
    turned = cntk(*(x.transpose(0, 2, 1, 3) for x in (first, second)), **options)["ntk", 3]
    np.testing.assert_allclose(rows_of_three, turned, rtol=1e-5)
    assert not np.allclose(rows_of_three, found)
