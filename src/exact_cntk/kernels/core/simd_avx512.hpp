// AVX-512 vectors (F, BW, DQ, VL).
#pragma once

#include <immintrin.h>

#define EXACT_CNTK_INLINE inline __attribute__((always_inline))

namespace exact_cntk {
namespace {

struct VectorF {
    using Scalar = float;
    static constexpr int lanes = 16;
    __m512 v;
    static EXACT_CNTK_INLINE VectorF set(float a) { return {_mm512_set1_ps(a)}; }
    static EXACT_CNTK_INLINE VectorF load(const float* p) { return {_mm512_loadu_ps(p)}; }

    // A choice of lanes.
    using Mask = __mmask16;
    static EXACT_CNTK_INLINE Mask mask(unsigned bits) { return static_cast<Mask>(bits); }
};
EXACT_CNTK_INLINE void store(float* p, VectorF a) { _mm512_storeu_ps(p, a.v); }
EXACT_CNTK_INLINE VectorF operator+(VectorF a, VectorF b) { return {_mm512_add_ps(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorF operator-(VectorF a, VectorF b) { return {_mm512_sub_ps(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorF operator*(VectorF a, VectorF b) { return {_mm512_mul_ps(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorF operator/(VectorF a, VectorF b) { return {_mm512_div_ps(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorF fma(VectorF a, VectorF b, VectorF c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
EXACT_CNTK_INLINE VectorF fnma(VectorF a, VectorF b, VectorF c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
EXACT_CNTK_INLINE VectorF abs(VectorF a) { return {_mm512_abs_ps(a.v)}; }
// √a where a > threshold, 0 elsewhere.
EXACT_CNTK_INLINE VectorF sqrt_above(VectorF a, VectorF threshold) {
    return {_mm512_maskz_sqrt_ps(_mm512_cmp_ps_mask(a.v, threshold.v, _CMP_GT_OQ), a.v)};
}
// count + 1 in the lanes where a > threshold.
EXACT_CNTK_INLINE VectorF count_above(VectorF count, VectorF a, VectorF threshold) {
    const __mmask16 above = _mm512_cmp_ps_mask(a.v, threshold.v, _CMP_GT_OQ);
    return {_mm512_add_ps(count.v, _mm512_maskz_mov_ps(above, _mm512_set1_ps(1)))};
}
// a where s < 0, b elsewhere.
EXACT_CNTK_INLINE VectorF select_negative(VectorF s, VectorF a, VectorF b) {
    return {_mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(s.v)), b.v, a.v)};
}

// a + b in the chosen lanes, a elsewhere. (On Zen 4 an addition that keeps lanes takes an operation more than one that
// clears them, and not of the pipes for additions.)
EXACT_CNTK_INLINE VectorF add_where(VectorF::Mask chosen, VectorF a, VectorF b) {
    return {_mm512_add_ps(a.v, _mm512_maskz_mov_ps(chosen, b.v))};
}
// a + (current one lane up, its gap filled from `previous`), in the chosen lanes.
EXACT_CNTK_INLINE VectorF add_left(VectorF a, VectorF previous, VectorF current, VectorF::Mask chosen) {
    const __m512i shifted =
        _mm512_maskz_alignr_epi32(chosen, _mm512_castps_si512(current.v), _mm512_castps_si512(previous.v), 15);
    return {_mm512_add_ps(a.v, _mm512_castsi512_ps(shifted))};
}
// a + (current one lane down, its gap filled from `next`), in the chosen lanes.
EXACT_CNTK_INLINE VectorF add_right(VectorF a, VectorF current, VectorF next, VectorF::Mask chosen) {
    const __m512i shifted =
        _mm512_maskz_alignr_epi32(chosen, _mm512_castps_si512(next.v), _mm512_castps_si512(current.v), 1);
    return {_mm512_add_ps(a.v, _mm512_castsi512_ps(shifted))};
}
EXACT_CNTK_INLINE float sum_lanes(VectorF a) {
    float lane[16];
    _mm512_storeu_ps(lane, a.v);
    for (int width = 8; width > 0; width /= 2)
        for (int l = 0; l < width; ++l) lane[l] += lane[l + width];
    return lane[0];
}

// Rows of up to 8 pixels, of two pairs of images in the two halves of a vector: see WholeRows in torus_kernel.hpp.
struct HalfRows {
    using V = VectorF;
    static constexpr int packed = 2;
    static constexpr int pixels = 8;
    // The neighbour across the halves is never asked for: a row's first pixel has none to its left.
    static EXACT_CNTK_INLINE V::Mask mask(unsigned bits) { return V::mask(bits | bits << 8); }
    // (The form without a mask makes GCC 12 warn of its own header.)
    static EXACT_CNTK_INLINE V load_x(const float* x) {
        return {_mm512_maskz_broadcast_f32x8(0xFFFF, _mm256_loadu_ps(x))};
    }
    static EXACT_CNTK_INLINE V load_y(const float* y, int to_next) {
        return {_mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(y)), _mm256_loadu_ps(y + to_next), 1)};
    }
    static EXACT_CNTK_INLINE void add_sums(V a, double* sums) {
        float lane[16];
        _mm512_storeu_ps(lane, a.v);
        for (int width = 4; width > 0; width /= 2)
            for (int l = 0; l < width; ++l) {
                lane[l] += lane[l + width];
                lane[8 + l] += lane[8 + l + width];
            }
        sums[0] += lane[0];
        sums[1] += lane[8];
    }
};

struct VectorD {
    using Scalar = double;
    static constexpr int lanes = 8;
    __m512d v;
    static EXACT_CNTK_INLINE VectorD set(double a) { return {_mm512_set1_pd(a)}; }
    static EXACT_CNTK_INLINE VectorD load(const double* p) { return {_mm512_loadu_pd(p)}; }
};
EXACT_CNTK_INLINE void store(double* p, VectorD a) { _mm512_storeu_pd(p, a.v); }
EXACT_CNTK_INLINE VectorD operator+(VectorD a, VectorD b) { return {_mm512_add_pd(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorD operator-(VectorD a, VectorD b) { return {_mm512_sub_pd(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorD operator*(VectorD a, VectorD b) { return {_mm512_mul_pd(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorD operator/(VectorD a, VectorD b) { return {_mm512_div_pd(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorD fma(VectorD a, VectorD b, VectorD c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
EXACT_CNTK_INLINE VectorD fnma(VectorD a, VectorD b, VectorD c) { return {_mm512_fnmadd_pd(a.v, b.v, c.v)}; }
EXACT_CNTK_INLINE VectorD abs(VectorD a) { return {_mm512_abs_pd(a.v)}; }
EXACT_CNTK_INLINE VectorD sqrt_above(VectorD a, VectorD threshold) {
    return {_mm512_maskz_sqrt_pd(_mm512_cmp_pd_mask(a.v, threshold.v, _CMP_GT_OQ), a.v)};
}
EXACT_CNTK_INLINE VectorD count_above(VectorD count, VectorD a, VectorD threshold) {
    const __mmask8 above = _mm512_cmp_pd_mask(a.v, threshold.v, _CMP_GT_OQ);
    return {_mm512_add_pd(count.v, _mm512_maskz_mov_pd(above, _mm512_set1_pd(1)))};
}
EXACT_CNTK_INLINE VectorD select_negative(VectorD s, VectorD a, VectorD b) {
    return {_mm512_mask_blend_pd(_mm512_movepi64_mask(_mm512_castpd_si512(s.v)), b.v, a.v)};
}

}  // namespace
}  // namespace exact_cntk
