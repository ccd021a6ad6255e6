// 16-byte vectors in the compilers' own vector notation: SSE2 on any x86-64, NEON on Arm.
#pragma once

#define EXACT_CNTK_INLINE inline __attribute__((always_inline))

namespace exact_cntk {
namespace {

template <class T> struct Vector {
    using Scalar = T;
    static constexpr int lanes = 16 / sizeof(T);
    typedef T Native __attribute__((vector_size(16)));
    Native v;
    static EXACT_CNTK_INLINE Vector set(T a) {
        Native filled;
        for (int i = 0; i < lanes; ++i) filled[i] = a;
        return {filled};
    }
    static EXACT_CNTK_INLINE Vector load(const T* p) {
        Vector a;
        __builtin_memcpy(&a.v, p, sizeof a.v);
        return a;
    }
};
using VectorF = Vector<float>;
using VectorD = Vector<double>;

EXACT_CNTK_INLINE float root(float a) { return __builtin_sqrtf(a); }
EXACT_CNTK_INLINE double root(double a) { return __builtin_sqrt(a); }

template <class T> EXACT_CNTK_INLINE void store(T* p, Vector<T> a) { __builtin_memcpy(p, &a.v, sizeof a.v); }
template <class T> EXACT_CNTK_INLINE Vector<T> operator+(Vector<T> a, Vector<T> b) { return {a.v + b.v}; }
template <class T> EXACT_CNTK_INLINE Vector<T> operator-(Vector<T> a, Vector<T> b) { return {a.v - b.v}; }
template <class T> EXACT_CNTK_INLINE Vector<T> operator*(Vector<T> a, Vector<T> b) { return {a.v * b.v}; }
template <class T> EXACT_CNTK_INLINE Vector<T> operator/(Vector<T> a, Vector<T> b) { return {a.v / b.v}; }
// The compiler fuses these where the machine has the instruction.
template <class T> EXACT_CNTK_INLINE Vector<T> fma(Vector<T> a, Vector<T> b, Vector<T> c) { return {a.v * b.v + c.v}; }
template <class T> EXACT_CNTK_INLINE Vector<T> fnma(Vector<T> a, Vector<T> b, Vector<T> c) { return {c.v - a.v * b.v}; }
template <class T> EXACT_CNTK_INLINE Vector<T> abs(Vector<T> a) { return {a.v < 0 ? -a.v : a.v}; }
// √a where a > threshold, 0 elsewhere.
template <class T> EXACT_CNTK_INLINE Vector<T> sqrt_above(Vector<T> a, Vector<T> threshold) {
    Vector<T> kept = {a.v > threshold.v ? a.v : Vector<T>::set(0).v};
    for (int i = 0; i < Vector<T>::lanes; ++i) kept.v[i] = root(kept.v[i]);
    return kept;
}
// count + 1 in the lanes where a > threshold.
template <class T> EXACT_CNTK_INLINE Vector<T> count_above(Vector<T> count, Vector<T> a, Vector<T> threshold) {
    return {count.v + (a.v > threshold.v ? Vector<T>::set(1).v : Vector<T>::set(0).v)};
}
// a where s < 0, b elsewhere.
template <class T> EXACT_CNTK_INLINE Vector<T> select_negative(Vector<T> s, Vector<T> a, Vector<T> b) {
    return {s.v < 0 ? a.v : b.v};
}

}  // namespace
}  // namespace exact_cntk
