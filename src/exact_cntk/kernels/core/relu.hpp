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
template <> struct SameAngle<float> {
    static constexpr float value = 2.4e-7F;
};
template <> struct SameAngle<double> {
    static constexpr double value = 2e-15;
};

// Constants of a layer in every lane, for a kernel to hold in local variables: vector stores may alias anything, so
// that what lies behind pointers is read again after each.
template <class V> struct LayerVectors {
    static constexpr int degree = ArccosDegree<typename V::Scalar>::value;
    V gain, gain_over_pi, same_angle, arccos[degree + 1];

    explicit EXACT_CNTK_INLINE LayerVectors(const Layer<typename V::Scalar>& layer)
        : gain(V::set(layer.gain)),
          gain_over_pi(V::set(layer.gain_over_pi)),
          same_angle(V::set(SameAngle<typename V::Scalar>::value)) {
        for (int c = 0; c <= degree; ++c) arccos[c] = V::set(layer.arccos[c]);
    }
};

// The half of the closed form that waits for the divider, for `n` vectors. A kernel may start it a row ahead: its
// latency is longer than what the schedulers of a core look ahead.
template <class V, int n> struct ReluStart {
    V t[n], z[n], m_over_pi[n];
};

// `has_negative` is needed in the first layer only: later Sigma are sums of K ≥ 0.
template <bool has_negative, class V, int n>
EXACT_CNTK_INLINE void relu_start(const LayerVectors<V>& layer, const V (&sigma)[n], const V (&norm_x)[n],
                                  const V (&norm_y)[n], ReluStart<V, n>& out) {
    V magnitude[n], norm[n], m[n];
    for (int i = 0; i < n; ++i) magnitude[i] = has_negative ? abs(sigma[i]) : sigma[i];
    for (int i = 0; i < n; ++i) norm[i] = norm_x[i] * norm_y[i];
    for (int i = 0; i < n; ++i) m[i] = norm[i] + magnitude[i];
    for (int i = 0; i < n; ++i) out.z[i] = (norm[i] - magnitude[i]) / m[i];
    for (int i = 0; i < n; ++i) out.m_over_pi[i] = m[i] * layer.gain_over_pi;
    for (int i = 0; i < n; ++i) out.t[i] = sqrt_above(out.z[i], layer.same_angle);
}

// K, K_dot and turn = gain·arccos|rho|/π, stage by stage for all `n`, so that their chains overlap.
template <bool has_negative, class V, int n>
EXACT_CNTK_INLINE void relu_finish(const LayerVectors<V>& layer, const ReluStart<V, n>& start, const V (&sigma)[n],
                                   V (&k)[n], V (&k_dot)[n], V (&turn)[n]) {
    constexpr int degree = LayerVectors<V>::degree;
    V angle[n];
    for (int i = 0; i < n; ++i) angle[i] = fma(layer.arccos[degree], start.z[i], layer.arccos[degree - 1]);
    for (int c = degree - 2; c >= 0; --c)
        for (int i = 0; i < n; ++i) angle[i] = fma(angle[i], start.z[i], layer.arccos[c]);
    for (int i = 0; i < n; ++i) {
        turn[i] = start.t[i] * angle[i];
        k_dot[i] = has_negative ? select_negative(sigma[i], turn[i], layer.gain - turn[i])
                                : fnma(start.t[i], angle[i], layer.gain);
        k[i] = fma(sigma[i], k_dot[i], start.t[i] * start.m_over_pi[i]);
    }
}

// Counts the pairs of pixels near rho = ±1, by their turn, for some images at once.
template <class V, int images> struct NearCounter {
    V count[near_count][images], above[near_count];

    template <class T> explicit EXACT_CNTK_INLINE NearCounter(const Layer<T>& layer) {
        // Angles between 0 and √SameAngle·2 do not occur.
        above[near_same] = V::set(layer.gain * T(1e-6));
        above[near_close] = V::set(layer.gain_over_pi * T(close_angle));
        for (auto& of_images : count)
            for (V& c : of_images) c = V::set(0);
    }
    EXACT_CNTK_INLINE void add(int image, V turn) {
        for (int c = 0; c < near_count; ++c) count[c][image] = count_above(count[c][image], above[c], turn);
    }
};

}  // namespace
}  // namespace exact_cntk
