// Everything in the kernels that is not plain C++17 with the qualifiers and built-in names of CUDA: instructions
// without a portable spelling. An emulator of the device defines the same names itself.
#pragma once

#ifdef __CUDACC__

// The special-function unit's 1/a and √a: one instruction each, relative errors of 2^-23. √0 = 0.
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

// a + b limited to [0, 1], in the one instruction of the addition; NaN gives 0.
__device__ __forceinline__ float add_saturated(float a, float b) {
    float result;
    asm("add.sat.ftz.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
    return result;
}

// Copies from global to shared memory that pass no register. Those committed are complete, for the thread that issued
// them, after wait_copies<0>; for the other threads of its block, after a barrier on top of it.
__device__ __forceinline__ void copy_async_4(void* shared, const void* global) {
    const unsigned target = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(target), "l"(global) : "memory");
}
// Both addresses are multiples of 16.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global) {
    const unsigned target = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(target), "l"(global) : "memory");
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int pending> __device__ __forceinline__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// The block's dynamic shared memory.
template <class T> __device__ __forceinline__ T* dynamic_shared() {
    extern __shared__ __align__(16) unsigned char dynamic_shared_bytes[];
    return reinterpret_cast<T*>(dynamic_shared_bytes);
}

#endif
