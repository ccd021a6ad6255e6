"""The emulator itself, on kernels with a known answer: what works on a GPU works, and misuse is named."""

import numpy as np
import pytest
from emulated_device import INITIALISE_LOCALS, EmulatedDevice, EmulationError, checks

from exact_cntk.kernels.cuda.device import DeviceMemoryError

THREADS = 64
HEADER = 'extern "C" __global__ void kernel('


def run(
    body: str,
    *,
    parameters: str = "int* out",
    inputs: tuple[np.ndarray, ...] = (),
    out: tuple[int, type] = (THREADS, np.int32),
    blocks: int = 1,
    shared_bytes: int = 1024,
    **device_options,
) -> np.ndarray:
    """Run a kernel that takes the inputs and then an array to fill."""
    device = EmulatedDevice(**device_options)
    stream = device.stream()
    kernel = device.compile(f"{HEADER}{parameters}) {{\n{body}\n}}\n", (), "kernel", shared_bytes)
    arrays = []
    for k, values in enumerate(inputs):
        arrays.append(device.empty(values.shape, values.dtype, name=f"input {k}"))
        stream.upload(values, arrays[-1])
    arrays.append(device.empty(*out, name="output"))
    stream.launch(kernel, blocks, THREADS, arrays)
    result = device.pinned(*out)
    stream.download(arrays[-1], result)
    return result


def message_of(body: str, **arguments) -> str:
    with pytest.raises(EmulationError) as error:
        run(body, **arguments)
    return str(error.value)


@pytest.mark.parametrize(
    ("call", "source"),
    [
        ("__shfl_up_sync(~0u, lane, 3)", lambda lane: np.where(lane >= 3, lane - 3, lane)),
        ("__shfl_down_sync(~0u, lane, 5)", lambda lane: np.where(lane < 27, lane + 5, lane)),
        ("__shfl_xor_sync(~0u, lane, 16)", lambda lane: lane ^ 16),
        ("__shfl_sync(~0u, lane, 33 - lane)", lambda lane: (33 - lane) % 32),
        ("__shfl_up_sync(~0u, lane, 1, 8)", lambda lane: np.where(lane % 8 >= 1, lane - 1, lane)),
        ("__shfl_down_sync(~0u, lane, 1, 16)", lambda lane: np.where(lane % 16 < 15, lane + 1, lane)),
        ("(int)__ballot_sync(~0u, lane == 4)", lambda lane: np.full_like(lane, 16)),
        ("__any_sync(~0u, lane == 4) + 2 * __all_sync(~0u, lane < 32)", lambda lane: np.full_like(lane, 3)),
    ],
)
@pytest.mark.parametrize("seed", [0, 7])
def test_warp_operations(call, source, seed):
    result = run(f"const int lane = threadIdx.x % warpSize; out[threadIdx.x] = {call};", seed=seed)
    assert np.array_equal(result, np.tile(source(np.arange(32)), 2))


def test_shuffles_of_every_type():
    body = """
    const int lane = threadIdx.x % 32;
    const double d = __shfl_xor_sync(~0u, 0.1 * lane, 1);
    const float f = __shfl_xor_sync(~0u, 0.5f * lane, 1);
    const unsigned u = __shfl_xor_sync(0xFFFFFFFF, 3000000000u + lane, 1);
    out[threadIdx.x] = d == 0.1 * (lane ^ 1) && f == 0.5f * (lane ^ 1) && u == 3000000000u + (lane ^ 1);"""
    assert run(body).all()


# Each warp leaves its number where the other one reads it, time and again.
EXCHANGE = """
    __shared__ int box[2];
    int* seen = dynamic_shared<int>();
    const int warp = threadIdx.x / 32;
    int total = 0;
    for (int round = 0; round < 50; ++round) {
        if (threadIdx.x % 32 == 0) box[warp] = round + warp;
        __syncthreads();
        total += box[1 - warp];
        __syncthreads();
    }
    seen[threadIdx.x] = total;
    __syncwarp();
    out[blockIdx.x * blockDim.x + threadIdx.x] = seen[threadIdx.x ^ 1] + 10000 * (gridDim.x + blockIdx.x);
"""


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("checked", [False, True])
def test_barriers_and_blocks(seed, checked):
    result = run(EXCHANGE, blocks=3, out=(3 * THREADS, np.int32), seed=seed, checked=checked)
    expected = 1225 + 50 * (np.arange(THREADS) < 32) + 10000 * (3 + np.arange(3)[:, None])
    assert np.array_equal(result.reshape(3, THREADS), expected)


def test_order_of_threads_shows_in_races_alone():
    race = EXCHANGE.replace("        __syncthreads();\n    }", "    }")
    results = {run(race, seed=seed).tobytes() for seed in range(4)}
    assert len(results) > 1
    assert len({run(EXCHANGE, seed=seed).tobytes() for seed in range(4)}) == 1


PIPELINE = """
    float* buffer = dynamic_shared<float>();  // two stages of 64 quadruples
    float total = 0;
    copy_async_16(buffer + 4 * threadIdx.x, in + 4 * threadIdx.x);
    commit_copies();
    for (int stage = 0; stage < 3; ++stage) {
        if (stage < 2) copy_async_16(buffer + (stage + 1) % 2 * 256 + 4 * threadIdx.x,
                                     in + (stage + 1) * 256 + 4 * threadIdx.x);
        commit_copies();
        wait_copies<1>();
        __syncthreads();
        for (int k = 0; k < 4; ++k) total += buffer[stage % 2 * 256 + (4 * threadIdx.x + k + 128) % 256];
        __syncthreads();
    }
    out[threadIdx.x] = total;
"""
PIPELINED = {
    "parameters": "const float* in, float* out",
    "inputs": (np.arange(768, dtype=np.float32),),
    "out": (THREADS, np.float32),
    "shared_bytes": 2048,
}


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("checked", [False, True])
def test_asynchronous_copies(seed, checked):
    expected = np.roll(np.arange(768).reshape(3, 64, 4).sum(axis=(0, 2)), -32)
    assert np.array_equal(run(PIPELINE, seed=seed, checked=checked, **PIPELINED), expected)


def test_copies_land_at_their_wait():
    late = run(PIPELINE.replace("wait_copies<1>()", "wait_copies<2>()"). replace("out[", "wait_copies<0>();\n out["),
               **PIPELINED)  # fmt: skip
    assert np.isnan(late).all()
    without_commit = PIPELINE.replace("commit_copies();\n    for", "\n    for")
    # The first copy then belongs to the second one's group, which is still on its way.
    assert np.isnan(run(without_commit, **PIPELINED)).all()
    message = message_of(PIPELINE.replace("wait_copies<1>()", "wait_copies<3>()"), **PIPELINED)
    assert "ends with 2 asynchronous copies that it has not waited for" in message


def test_missing_barrier_after_copies():
    unsafe = PIPELINE.replace("wait_copies<1>();\n        __syncthreads();", "wait_copies<1>();")
    assert any(np.isnan(run(unsafe, seed=seed, **PIPELINED)).any() for seed in range(1, 4))
    assert "which nobody has written in line 12" in message_of(unsafe, checked=True, **PIPELINED)


def test_misaligned_copies():
    shifted = PIPELINE.replace("copy_async_16(buffer", "copy_async_16(buffer + 1", 1)
    assert "not both aligned, in line 5" in message_of(shifted, **PIPELINED)
    assert "which is in no array" in message_of("copy_async_4(dynamic_shared<int>(), dynamic_shared<int>());")
    assert "which is not in shared memory" in message_of("copy_async_4(out, out);")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "if (threadIdx.x % 32 < 31)\n out[threadIdx.x] = __shfl_up_sync(~0u, 1, 1);",
            "ends while other lanes of its warp",
        ),
        ("if (threadIdx.x == 3) return;\n__syncwarp();", "lanes of its warp"),
        ("__syncwarp();\nif (threadIdx.x == 3) __syncwarp();", "in line 3 after . lanes of its warp have ended"),
        ("if (threadIdx.x >= 32) return;\n__syncthreads();", "wait at __syncthreads in line 3"),
        ("if (threadIdx.x < 32) return;\n__syncthreads();", "is at __syncthreads in line 3 after 32 threads"),
        (
            "if (threadIdx.x % 2) out[0] = __shfl_up_sync(~0u, 1, 1);\nelse out[0] = __shfl_down_sync(~0u, 1, 1);",
            "is at __shfl_up_sync in line 2 while another lane of its warp is at __shfl_down_sync in line 3",
        ),
        (
            "if (threadIdx.x % 2) __syncthreads();\nelse __syncwarp();",
            "is at __syncthreads in line 2 while another lane of its warp is at __syncwarp in line 3",
        ),
        (
            "if (threadIdx.x < 32) __syncthreads();\nelse __syncthreads();",
            "is at __syncthreads in line 3 while another",
        ),
        ("__shfl_up_sync(0xFFFF, 1, 1);", "mask 0xffff: only full warps"),
        ("__shfl_xor_sync(~0u, 1, 32);", "across groups"),
        ("out[0] = fmaxf(dynamic_shared<float>()[3], 0.f) > 0;", "gives fmaxf what nobody has written in line 2"),
        ("int large[100000]; large[99999 - threadIdx.x] = 1; __syncwarp(); out[0] = large[99999];", "stack overflows"),
    ],
)
def test_misuse_is_named(body, message):
    with pytest.raises(EmulationError, match=message):
        run(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("out[64 + threadIdx.x] = 1;", "touches memory 0 bytes past the end of output (256 bytes) in line 2"),
        ("out[(int)threadIdx.x - 2048] = 1;", "bytes before the start of output"),
        ("out[(int)threadIdx.x - 1] = 1;", "has written outside of output"),
        ("out[0] = dynamic_shared<int>()[256];", "0 bytes past the end of dynamic shared memory (1024 bytes)"),
        ("*(int*)16 = 1;", "in or near no array"),
    ],
)
def test_nothing_outside_of_arrays_is_touched(body, message):
    text = message_of(body)
    assert message in text
    if "in line 2" in message:
        assert text.endswith(f"    2: {body}")


def test_a_failed_launch_leaves_the_next_one_alone():
    message_of("__syncwarp();\nif (threadIdx.x == 3) __syncwarp();")
    message_of("*(int*)16 = 1;")
    assert run("out[threadIdx.x] = 1;").all()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("out[0] = threadIdx.x;", "writes byte 0 of output, which thread 0 of block 0 writes too with no barrier"),
        ("dynamic_shared<int>()[threadIdx.x / 2] = 1;", "writes byte 0 of dynamic shared memory, which thread 0"),
        (
            "int* s = dynamic_shared<int>(); s[threadIdx.x] = 1;\n"
            "__shfl_xor_sync(~0u, 1, 1);\nout[threadIdx.x] = s[threadIdx.x ^ 1];",
            "writes with no barrier between in line 4",
        ),
        (
            "int* s = dynamic_shared<int>(); s[threadIdx.x] = 1;\n"
            "__syncwarp();\nout[threadIdx.x] = s[threadIdx.x % 32];",
            "writes with no barrier between in line 4",
        ),
        (
            "int* s = dynamic_shared<int>(); if (threadIdx.x == 0) s[0] = 1;\n"
            "__syncthreads();\nout[threadIdx.x] = s[0];\nif (threadIdx.x == 40) s[0] = 2;",
            "reads with no barrier between in line 5",
        ),
        (
            "out[threadIdx.x] = dynamic_shared<int>()[threadIdx.x];",
            "reads byte 0 of dynamic shared memory, which nobody",
        ),
        (
            "__shared__ int s[9]; out[threadIdx.x] = s[4];",
            "reads byte 16 of static shared memory, which nobody has written",
        ),
        (
            "*(float4*)(dynamic_shared<float>() + 1) = make_float4(1, 2, 3, 4);",
            "undefined behaviour in line 2",
        ),
        ("out[threadIdx.x] += 1;", "reads byte 0 of output, which nobody has written"),
        (
            "struct Large { int of[16]; };\nLarge* s = dynamic_shared<Large>(); if (threadIdx.x == 0) s[0].of[0] = 1;\n"
            "if (threadIdx.x == 0) s[1] = s[2];",
            "reads byte 128 of dynamic shared memory, which nobody has written in line 4",
        ),
        (
            "int a[4]; for (int k = 0; k <= 4; ++k) a[k % (4 + (threadIdx.x > 70 || k == 4))] = k; out[0] = a[0];",
            "undefined",
        ),
        ("out[threadIdx.x] = 1 << (threadIdx.x + 8);", "undefined behaviour in line 2"),
        ("out[threadIdx.x] = 7 / (int)(threadIdx.x / 32);", "undefined behaviour in line 2"),
    ],
)
def test_checked_accesses(body, message):
    with pytest.raises(EmulationError, match=message):
        run(body, checked=True)


def test_blocks_are_never_in_order():
    assert "of block 0 writes too" in message_of("out[threadIdx.x] = 1;", blocks=2, checked=True)


@pytest.mark.skipif(INITIALISE_LOCALS not in checks(), reason="g++ 12 is the first to initialise locals")
def test_uninitialised_locals_are_not_zero():
    body = "float sum[2]; if (threadIdx.x < 64) sum[0] = 0; out[threadIdx.x] = sum[0] + sum[threadIdx.x / 32];"
    result = run(body, checked=True, parameters="float* out", out=(THREADS, np.float32))
    assert not result[:32].any() and (np.abs(result[32:]) > 1e30).all()


def test_arithmetic_of_a_gpu():
    body = """
    out[0] = rsqrtf(in[0]);
    out[1] = in[1] * 0.5f;  // denormal
    out[2] = __uint_as_float(__float_as_uint(in[0]) ^ 0x80000000u);
    out[3] = fmaf(in[2], in[2], -1.f);"""
    x = np.array([3, 1.5e-38, 1 + 2**-12], dtype=np.float32)
    result = run(body, parameters="const float* in, float* out", inputs=(x,), out=(4, np.float32))
    error = result[0] * np.sqrt(3.0) - 1
    assert 1e-9 < abs(error) < 2**-22.9
    assert np.array_equal(result[1:], np.array([0, -3, 2**-11 + 2**-24], dtype=np.float32))
    kept = run("out[0] = in[0] * 0.5;", parameters="const double* in, double* out", inputs=(np.array([3e-308]),),
               out=(1, np.float64))  # fmt: skip
    assert kept[0] == 0  # SCALAR is not double here
    kernel = "#define SCALAR double\n" + HEADER + "double* out) { out[0] = out[1] * 0.5; }"
    device = EmulatedDevice()
    numbers = device.empty(2, np.float64)
    device.stream().upload(np.array([0, 3e-308]), numbers)
    device.stream().launch(device.compile(kernel, (), "kernel", 0), 1, 32, [numbers])
    assert 0 < numbers[0] < 2e-308


def test_special_functions():
    body = """
    float* values = dynamic_shared<float>();
    const int k = threadIdx.x;
    values[k] = k;
    out[k] = add_saturated(0.25f * k, -2.f);
    out[64 + k] = fast_reciprocal(k + 1.f);
    out[128 + k] = fast_square_root((float)k);
    if (k == 0) out[0] = add_saturated(fast_square_root(-1.f), 1.f) + fmaxf(fast_square_root(-1.f), 1.f);"""
    result = run(body, parameters="float* out", out=(192, np.float32)).reshape(3, THREADS)
    k = np.arange(THREADS)
    assert result[0, 0] == 1
    assert np.array_equal(result[0, 1:], np.clip(0.25 * k[1:] - 2, 0, 1))
    for actual, exact in ((result[1], 1 / (k + 1)), (result[2, 1:], np.sqrt(k[1:]))):
        error = np.abs(actual / exact - 1)
        assert 5e-8 < error.max() < 2**-23
    assert result[2, 0] == 0
    unwritten = "out[0] = add_saturated(2 * dynamic_shared<float>()[0] + 1, 0.f) > 0;"
    assert "gives add_saturated what nobody has written in line 2" in message_of(unwritten)


def test_errors_of_the_compiler_are_shown():
    assert "error: ‘oops’ was not declared" in message_of("oops();")


def test_wrong_launches_are_refused():
    device = EmulatedDevice(shared_bytes=1000)
    kernel = device.compile(HEADER + "int* out) {}", (), "kernel", 0)
    with pytest.raises(EmulationError, match="2 arguments given to a kernel with 1 parameters"):
        device.stream().launch(kernel, 1, 32, [None, None])
    with pytest.raises(EmulationError, match="33 threads a block"):
        device.stream().launch(kernel, 1, 33, [None])
    with pytest.raises(EmulationError, match="at most 1000"):
        device.stream().launch(device.compile(HEADER + "int* out) {}", (), "kernel", 1001), 1, 32, [None])


def test_memory_is_bounded_and_given_back():
    device = EmulatedDevice(memory=1000)
    array = device.empty((10, 10), np.float64)
    assert array.view(np.uint8).min() == 0xFF
    half = array[5:]
    with pytest.raises(DeviceMemoryError, match="201 bytes asked for, 200 free"):
        device.empty(201, np.uint8)
    del array
    assert device.free_bytes() == 200
    del half
    assert device.free_bytes() == 1000
