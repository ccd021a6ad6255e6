// What device code finds without any header: CUDA's keywords, vector types, indices, barriers, shuffles and
// mathematics, and the functions of the kernels' intrinsics.cuh, for code that is compiled as plain C++.
#pragma once

#include "machine.hpp"

#define __global__ __attribute__((visibility("hidden")))
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __constant__ static
// Named, so that the runtime finds it: poison before each block.
#define __shared__ static __attribute__((section("cuda_shared")))

#define threadIdx (::cuda_emulator::current->index)
#define blockIdx (::cuda_emulator::block_index)
#define blockDim (::cuda_emulator::block_size)
#define gridDim (::cuda_emulator::grid_size)
#define warpSize 32

// The program, and what it is made of, live in a namespace without a name: its own `max` or `int2` would not clash with
// what the C++ library declares globally.
namespace {

#define EMULATED_VECTOR(name, type, alignment, fields, parameters, values) \
    struct alignas(alignment) name {                                       \
        type fields;                                                       \
    };                                                                     \
    [[maybe_unused]] inline name make_##name parameters { return {values}; }
#define EMULATED_LIST(...) __VA_ARGS__
#define EMULATED_VECTORS(type, size)                                                                     \
    EMULATED_VECTOR(type##2, type, 2 * size, EMULATED_LIST(x, y), (type x, type y), EMULATED_LIST(x, y)) \
    EMULATED_VECTOR(type##4, type, (size < 8 ? 4 * size : 16), EMULATED_LIST(x, y, z, w),                \
                    (type x, type y, type z, type w), EMULATED_LIST(x, y, z, w))
EMULATED_VECTORS(int, 4)
EMULATED_VECTORS(float, 4)
EMULATED_VECTORS(double, 8)

// Barriers and warp operations. The last argument, never given, is the line of the call.

inline void __syncthreads(int line = __builtin_LINE()) { cuda_emulator::synchronise_block({"__syncthreads", line}); }
inline void __syncwarp(unsigned mask = cuda_emulator::all_lanes, int line = __builtin_LINE()) {
    cuda_emulator::synchronise_warp({"__syncwarp", line}, mask);
}

template <class T> inline unsigned long long emulated_bits(T value) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "CUDA shuffles 4 or 8 bytes");
    unsigned long long bits = 0;
    __builtin_memcpy(&bits, &value, sizeof value);
    return bits;
}

// The value of lane `source(lane)`, or its own where that is outside of the lane's group of `width` lanes.
template <class T, class Source>
inline T emulated_shuffle(const char* name, unsigned mask, T value, int width, int line, Source source) {
    const unsigned long long* values = cuda_emulator::exchange({name, line}, mask, emulated_bits(value));
    const int lane = cuda_emulator::current->lane, from = source(lane);
    T result;
    __builtin_memcpy(&result, &values[from < 0 || from / width != lane / width ? lane : from], sizeof result);
    return result;
}

template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, int line = __builtin_LINE()) {
    return emulated_shuffle("__shfl_sync", mask, value, width, line,
                            [=](int lane) { return lane / width * width + (source & (width - 1)); });
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE()) {
    return emulated_shuffle("__shfl_up_sync", mask, value, width, line,
                            [=](int lane) { return lane - static_cast<int>(delta); });
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE()) {
    return emulated_shuffle("__shfl_down_sync", mask, value, width, line,
                            [=](int lane) { return lane + static_cast<int>(delta); });
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, int line = __builtin_LINE()) {
    // CUDA would read from earlier groups, but not from later ones.
    if (lanes < 0 || lanes >= width) cuda_emulator::fail("is at __shfl_xor_sync across groups in line %d", line);
    return emulated_shuffle("__shfl_xor_sync", mask, value, width, line, [=](int lane) { return lane ^ lanes; });
}

inline unsigned emulated_ballot(const char* name, unsigned mask, int predicate, int line) {
    const unsigned long long* values = cuda_emulator::exchange({name, line}, mask, predicate != 0);
    unsigned votes = 0;
    for (int lane = 0; lane < cuda_emulator::warp_lanes; ++lane) votes |= static_cast<unsigned>(values[lane]) << lane;
    return votes;
}
inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    return emulated_ballot("__ballot_sync", mask, predicate, line);
}
inline int __any_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    return emulated_ballot("__any_sync", mask, predicate, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
    return emulated_ballot("__all_sync", mask, predicate, line) == cuda_emulator::all_lanes;
}

// Mathematics

inline float sqrtf(float x) { return __builtin_sqrtf(x); }
inline double sqrt(double x) { return __builtin_sqrt(x); }
inline float sqrt(float x) { return __builtin_sqrtf(x); }
inline float fabsf(float x) { return __builtin_fabsf(x); }
inline double fabs(double x) { return __builtin_fabs(x); }
inline float fabs(float x) { return __builtin_fabsf(x); }
inline float abs(float x) { return __builtin_fabsf(x); }
inline double abs(double x) { return __builtin_fabs(x); }
inline int abs(int x) { return __builtin_abs(x); }
inline float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
inline float copysignf(float x, float sign) { return __builtin_copysignf(x, sign); }
inline double copysign(double x, double sign) { return __builtin_copysign(x, sign); }

template <class T> inline T __ldg(const T* address) { return *address; }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return fma(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline int __float_as_int(float value) { return static_cast<int>(emulated_bits(value)); }
inline unsigned __float_as_uint(float value) { return static_cast<unsigned>(emulated_bits(value)); }
inline float __uint_as_float(unsigned bits) {
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}
inline float __int_as_float(int bits) { return __uint_as_float(static_cast<unsigned>(bits)); }

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }

// Poison, see memory.hpp, comes out of arithmetic as it went in; functions that make a number of a NaN would hide it.
inline void check_poison(float value, const char* name, int line) {
    if (__float_as_uint(value) == ~0U) cuda_emulator::fail("gives %s what nobody has written in line %d", name, line);
}
inline void check_poison(double value, const char* name, int line) {
    if (emulated_bits(value) == ~0ULL) cuda_emulator::fail("gives %s what nobody has written in line %d", name, line);
}

template <class T> inline T emulated_extremum(const char* name, T a, T b, bool larger, int line) {
    check_poison(a, name, line);
    check_poison(b, name, line);
    if (a != a || b != b) return a != a ? b : a;
    return (a > b) == larger ? a : b;
}
inline float fmaxf(float a, float b, int line = __builtin_LINE()) {
    return emulated_extremum("fmaxf", a, b, true, line);
}
inline float fminf(float a, float b, int line = __builtin_LINE()) {
    return emulated_extremum("fminf", a, b, false, line);
}
inline double fmax(double a, double b, int line = __builtin_LINE()) {
    return emulated_extremum("fmax", a, b, true, line);
}
inline double fmin(double a, double b, int line = __builtin_LINE()) {
    return emulated_extremum("fmin", a, b, false, line);
}

// A result of the special-function unit: off by up to `largest` of its value, by something that depends on the
// argument's bits alone. Rounding to float adds 2^−24, so that is taken off the bounds of the PTX ISA.
inline float emulated_approximation(double exact, float argument, double largest) {
    const unsigned mixed = __float_as_uint(argument) * 2654435761U;
    return static_cast<float>(exact * (1 + (largest - 0x1p-24) * (mixed / 2147483648.0 - 1)));
}
inline float rsqrtf(float x) { return emulated_approximation(1 / __builtin_sqrt(x), x, 1.28e-7); }  // 2^−22.9
inline double rsqrt(double x) { return 1 / __builtin_sqrt(x); }

// intrinsics.cuh

template <class T> inline T* dynamic_shared() { return reinterpret_cast<T*>(cuda_emulator::dynamic_shared_memory()); }
inline void copy_async_4(void* shared, const void* global, int line = __builtin_LINE()) {
    cuda_emulator::start_copy(shared, global, 4, line);
}
inline void copy_async_8(void* shared, const void* global, int line = __builtin_LINE()) {
    cuda_emulator::start_copy(shared, global, 8, line);
}
inline void copy_async_16(void* shared, const void* global, int line = __builtin_LINE()) {
    cuda_emulator::start_copy(shared, global, 16, line);
}
inline void commit_copies() { cuda_emulator::commit_copies(); }
inline float fast_reciprocal(float x) { return emulated_approximation(1.0 / x, x, 0x1p-23); }
inline float fast_square_root(float x) { return emulated_approximation(__builtin_sqrt(x), x, 0x1p-23); }
inline float add_saturated(float a, float b, int line = __builtin_LINE()) {
    const float sum = a + b;
    check_poison(sum, "add_saturated", line);
    return sum > 0 ? sum < 1 ? sum : 1 : 0;  // 0 for a NaN
}
template <int pending_groups> inline void wait_copies() { cuda_emulator::wait_for_copies(pending_groups); }

}  // namespace
