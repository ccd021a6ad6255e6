// The closed form of one ReLU layer on a vector of covariances.
//
// With N = √(Sigma(x,x)·Sigma(x′,x′)), d = N − |Sigma| and m = N + |Sigma|,
//     z = d/m = tan²(½ arccos|rho|),   t = √z,   arccos|rho| = 2 arctan t,   √(1 − rho²)·N = t·m,
// so a division, a square root and one polynomial in z ∈ [0, 1] give both K and K_dot, without 1/N and without the
// cancellation of 1 − rho.
#pragma once

#include "problem.hpp"

namespace exact_cntk {
namespace {

// Below this z two patches are the same but for rounding: t is set to 0 exactly, since √z would turn rounding noise of
// 1e-7 into angles of 3e-4, always in the same direction.
template <class T> struct SameAngle;
template <> struct SameAngle<float> { static constexpr float value = 2.4e-7F; };
template <> struct SameAngle<double> { static constexpr double value = 2e-15; };

// K and K_dot of `n` independent vectors at a time: stage by stage, so that the latencies of division, square root and
// polynomial overlap even where the scheduler's window is small. `has_negative` is needed in the first layer only.
template <bool has_negative, int n, class V, class T>
inline __attribute__((always_inline)) void relu_layer(const Layer<T>& layer, const V (&sigma)[n], const V (&norm_x)[n],
                                                      const V (&norm_y)[n], V (&k)[n], V (&k_dot)[n]) {
    constexpr int degree = ArccosDegree<T>::value;
    V magnitude[n], z[n], m[n], t[n], angle[n];
    const V threshold = V::set(SameAngle<T>::value);
    for (int i = 0; i < n; ++i) magnitude[i] = has_negative ? abs(sigma[i]) : sigma[i];
    for (int i = 0; i < n; ++i) m[i] = fma(norm_x[i], norm_y[i], magnitude[i]);
    for (int i = 0; i < n; ++i) z[i] = fms(norm_x[i], norm_y[i], magnitude[i]) / m[i];
    for (int i = 0; i < n; ++i) t[i] = sqrt_above(z[i], threshold);
    for (int i = 0; i < n; ++i) angle[i] = V::set(layer.arccos[degree]);
    for (int c = degree - 1; c >= 0; --c)
        for (int i = 0; i < n; ++i) angle[i] = fma(angle[i], z[i], V::set(layer.arccos[c]));
    const V gain = V::set(layer.gain), gain_over_pi = V::set(layer.gain_over_pi);
    for (int i = 0; i < n; ++i) {
        if (has_negative)
            k_dot[i] = select_negative(sigma[i], t[i] * angle[i], fnma(t[i], angle[i], gain));
        else
            k_dot[i] = fnma(t[i], angle[i], gain);
        k[i] = fma(sigma[i], k_dot[i], t[i] * (m[i] * gain_over_pi));
    }
}

// Counts the pairs of pixels near rho = ±1 by their K_dot = gain·(1 − angle/π).
template <class V> struct NearCounter {
    V count[near_count], above[near_count], gain;

    template <class T> explicit EXACT_CNTK_INLINE NearCounter(const Layer<T>& layer) : gain(V::set(layer.gain)) {
        // Angles between 0 and √SameAngle·2 do not occur.
        above[near_same] = V::set(layer.gain * T(1 - 1e-6));
        above[near_close] = V::set(layer.gain - layer.gain_over_pi * T(close_angle));
        for (V& c : count) c = V::set(0);
    }
    EXACT_CNTK_INLINE void add(V k_dot) {
        const V opposite = fnma(k_dot, V::set(1), gain);
        for (int c = 0; c < near_count; ++c) {
            count[c] = count_above(count[c], k_dot, above[c]);
            count[c] = count_above(count[c], opposite, above[c]);
        }
    }
};

}  // namespace
}  // namespace exact_cntk
