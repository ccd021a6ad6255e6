// Everything in the kernels that is not plain C++17 with the qualifiers and built-in names of CUDA: instructions without
// a portable spelling. An emulator of the device replaces this one file.
//
// Beyond it the kernels use threadIdx.x, blockIdx.x, gridDim.x, static and dynamic __shared__ memory, __syncthreads,
// __syncwarp, __shfl_sync and __shfl_down_sync (float and int, full mask, 32 lanes), fmaf, fabsf, fmax, fabs, sqrt,
// int2, float2, float4, __launch_bounds__, __forceinline__ and #pragma unroll.
#pragma once

// The special-function unit's 1/a and √a: relative errors of 2^-23, one instruction each. √0 = 0.
__device__ __forceinline__ float fast_reciprocal(float a) {
    float result;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(a));
    return result;
}
__device__ __forceinline__ float fast_square_root(float a) {
    float result;
    asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(a));
    return result;
}

// a + b, limited to [0, 1] at no cost.
__device__ __forceinline__ float add_saturated(float a, float b) {
    float result;
    asm("add.sat.ftz.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
    return result;
}

// Copies from global to shared memory that pass no register. They are complete, for the thread that issued them, after
// wait_for_copies; for its block, after a barrier on top of it.
__device__ __forceinline__ void copy_async_4(void* shared, const void* global) {
    const unsigned target = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(target), "l"(global) : "memory");
}
// Both addresses are multiples of 16.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global) {
    const unsigned target = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(target), "l"(global) : "memory");
}
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
