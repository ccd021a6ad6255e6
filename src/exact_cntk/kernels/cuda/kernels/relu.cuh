// The closed form of one ReLU layer for a pair of pixels, as in kernels/core/relu.hpp: with N the product of the two norms,
// d = N − |Sigma| and m = N + |Sigma|,
//     z = d/m = tan²(½ arccos|rho|),   t = √z,   arccos|rho| = t·arccos(z),   √(1 − rho²)·N = t·m,
//     K_dot = gain − gain/π · arccos rho,   K = Sigma·K_dot + gain/π · √(1 − rho²)·N.
#pragma once

#include "intrinsics.cuh"

// Where an angle counts as small, see NearCounter of kernels/core/relu.hpp.
constexpr double close_angle = 0.01;

#ifdef GAIN
// For gain = π, so that the factors gain/π disappear: 16 instructions, two of them special functions. One coefficient
// fewer would leave errors of 2e-7 in K_dot, of the same sign in all deep layers: 7e-6 of Theta at depth 21.
//
// z is rounded to multiples of 2^-21 by adding and subtracting 4, so that |z| < 2.4e-7 gives the angle 0 exactly: two
// patches that are the same but for rounding. The rounding of other z has no bias, and is of the size of what Sigma's
// own rounding leaves there. Negative z, of rounding too, saturate to 0. `has_negative` is needed in the first layer
// only: later Sigma are sums of K ≥ 0. Returns the angle.
static_assert(GAIN_OVER_PI == 1.0f && ARCCOS_0 == 2.0f, "the factors that are left out");
template <bool has_negative>
__device__ __forceinline__ float relu(float sigma, float norm_x, float norm_y, float& k, float& k_dot) {
    constexpr float grid = 4;
    const float magnitude = has_negative ? fabsf(sigma) : sigma;
    const float d = fmaf(norm_x, norm_y, -magnitude), m = fmaf(norm_x, norm_y, magnitude);
    const float z = add_saturated(fmaf(d, fast_reciprocal(m), grid), -grid);
    const float t = fast_square_root(z);
    float arccos = fmaf(ARCCOS_7, z, ARCCOS_6);
    arccos = fmaf(arccos, z, ARCCOS_5);
    arccos = fmaf(arccos, z, ARCCOS_4);
    arccos = fmaf(arccos, z, ARCCOS_3);
    arccos = fmaf(arccos, z, ARCCOS_2);
    arccos = fmaf(arccos, z, ARCCOS_1);
    arccos = fmaf(arccos, z, ARCCOS_0);
    k_dot = fmaf(-t, arccos, GAIN);
    if (has_negative && sigma < 0) k_dot = t * arccos;
    k = fmaf(sigma, k_dot, t * m);
    return has_negative ? t * arccos : 0;
}
#endif

// a·b + c, rounded once, in either type.
__device__ __forceinline__ float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double fused(double a, double b, double c) { return fma(a, b, c); }

// For constants in memory, in either type.
template <class T> struct ReluTraits;
template <> struct ReluTraits<float> {
    static constexpr int degree = 7;
    static constexpr float same_angle = 2.4e-7f;
};
template <> struct ReluTraits<double> {
    static constexpr int degree = 21;
    static constexpr double same_angle = 2e-15;
};

template <class T> struct LayerConstants {
    T gain, gain_over_pi, arccos[ReluTraits<T>::degree + 1];  // arccos is gain/π times the polynomial
};

// Returns the angle of |rho|.
template <class T>
__device__ __forceinline__ T relu(const LayerConstants<T>& layer, T sigma, T norm_x, T norm_y, T& k, T& k_dot) {
    const T norm = norm_x * norm_y, magnitude = sigma < 0 ? -sigma : sigma, m = norm + magnitude;
    const T z = (norm - magnitude) / m;
    const T t = z > ReluTraits<T>::same_angle ? static_cast<T>(sqrt(z)) : T(0);
    T arccos = layer.arccos[ReluTraits<T>::degree];
    for (int c = ReluTraits<T>::degree - 1; c >= 0; --c) arccos = fused(arccos, z, layer.arccos[c]);
    const T angle = t * arccos;
    k_dot = sigma < 0 ? angle : layer.gain - angle;
    k = fused(sigma, k_dot, t * m * layer.gain_over_pi);
    return angle / layer.gain_over_pi;
}
