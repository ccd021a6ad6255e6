// AVX2 vectors with fused multiply-add.
#pragma once

#include <immintrin.h>

#define EXACT_CNTK_INLINE inline __attribute__((always_inline))

namespace exact_cntk {
namespace {

struct VectorF {
    using Scalar = float;
    static constexpr int lanes = 8;
    __m256 v;
    static EXACT_CNTK_INLINE VectorF set(float a) { return {_mm256_set1_ps(a)}; }
    static EXACT_CNTK_INLINE VectorF load(const float* p) { return {_mm256_loadu_ps(p)}; }

    // A choice of lanes, as factors 1 and 0: one fused multiply-add then masks and adds.
    struct Mask {
        __m256 v;
    };
    static EXACT_CNTK_INLINE Mask mask(unsigned bits) {
        const __m256i lane_bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        const __m256i set = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), lane_bit);
        return {_mm256_and_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane_bit)), _mm256_set1_ps(1))};
    }
};
EXACT_CNTK_INLINE void store(float* p, VectorF a) { _mm256_storeu_ps(p, a.v); }
EXACT_CNTK_INLINE VectorF operator+(VectorF a, VectorF b) { return {_mm256_add_ps(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorF operator-(VectorF a, VectorF b) { return {_mm256_sub_ps(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorF operator*(VectorF a, VectorF b) { return {_mm256_mul_ps(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorF operator/(VectorF a, VectorF b) { return {_mm256_div_ps(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorF fma(VectorF a, VectorF b, VectorF c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
EXACT_CNTK_INLINE VectorF fnma(VectorF a, VectorF b, VectorF c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
EXACT_CNTK_INLINE VectorF abs(VectorF a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0F), a.v)}; }
// √a where a > threshold, 0 elsewhere.
EXACT_CNTK_INLINE VectorF sqrt_above(VectorF a, VectorF threshold) {
    return {_mm256_and_ps(_mm256_cmp_ps(a.v, threshold.v, _CMP_GT_OQ), _mm256_sqrt_ps(a.v))};
}
// count + 1 in the lanes where a > threshold.
EXACT_CNTK_INLINE VectorF count_above(VectorF count, VectorF a, VectorF threshold) {
    const __m256 above = _mm256_cmp_ps(a.v, threshold.v, _CMP_GT_OQ);
    return {_mm256_add_ps(count.v, _mm256_and_ps(above, _mm256_set1_ps(1)))};
}
// a where s < 0, b elsewhere.
EXACT_CNTK_INLINE VectorF select_negative(VectorF s, VectorF a, VectorF b) { return {_mm256_blendv_ps(b.v, a.v, s.v)}; }

// a + b in the chosen lanes, a elsewhere.
EXACT_CNTK_INLINE VectorF add_where(VectorF::Mask chosen, VectorF a, VectorF b) {
    return {_mm256_fmadd_ps(b.v, chosen.v, a.v)};
}
// a + (current one lane up, its gap filled from `previous`), in the chosen lanes.
EXACT_CNTK_INLINE VectorF add_left(VectorF a, VectorF previous, VectorF current, VectorF::Mask chosen) {
    const __m256i now = _mm256_castps_si256(current.v);
    const __m256i across = _mm256_permute2x128_si256(_mm256_castps_si256(previous.v), now, 0x21);
    return {_mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_alignr_epi8(now, across, 12)), chosen.v, a.v)};
}
// a + (current one lane down, its gap filled from `next`), in the chosen lanes.
EXACT_CNTK_INLINE VectorF add_right(VectorF a, VectorF current, VectorF next, VectorF::Mask chosen) {
    const __m256i now = _mm256_castps_si256(current.v);
    const __m256i across = _mm256_permute2x128_si256(now, _mm256_castps_si256(next.v), 0x21);
    return {_mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_alignr_epi8(across, now, 4)), chosen.v, a.v)};
}
EXACT_CNTK_INLINE float sum_lanes(VectorF a) {
    float lane[8];
    _mm256_storeu_ps(lane, a.v);
    for (int width = 4; width > 0; width /= 2)
        for (int l = 0; l < width; ++l) lane[l] += lane[l + width];
    return lane[0];
}

struct VectorD {
    using Scalar = double;
    static constexpr int lanes = 4;
    __m256d v;
    static EXACT_CNTK_INLINE VectorD set(double a) { return {_mm256_set1_pd(a)}; }
    static EXACT_CNTK_INLINE VectorD load(const double* p) { return {_mm256_loadu_pd(p)}; }
};
EXACT_CNTK_INLINE void store(double* p, VectorD a) { _mm256_storeu_pd(p, a.v); }
EXACT_CNTK_INLINE VectorD operator+(VectorD a, VectorD b) { return {_mm256_add_pd(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorD operator-(VectorD a, VectorD b) { return {_mm256_sub_pd(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorD operator*(VectorD a, VectorD b) { return {_mm256_mul_pd(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorD operator/(VectorD a, VectorD b) { return {_mm256_div_pd(a.v, b.v)}; }
EXACT_CNTK_INLINE VectorD fma(VectorD a, VectorD b, VectorD c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
EXACT_CNTK_INLINE VectorD fnma(VectorD a, VectorD b, VectorD c) { return {_mm256_fnmadd_pd(a.v, b.v, c.v)}; }
EXACT_CNTK_INLINE VectorD abs(VectorD a) { return {_mm256_andnot_pd(_mm256_set1_pd(-0.0), a.v)}; }
EXACT_CNTK_INLINE VectorD sqrt_above(VectorD a, VectorD threshold) {
    return {_mm256_and_pd(_mm256_cmp_pd(a.v, threshold.v, _CMP_GT_OQ), _mm256_sqrt_pd(a.v))};
}
EXACT_CNTK_INLINE VectorD count_above(VectorD count, VectorD a, VectorD threshold) {
    const __m256d above = _mm256_cmp_pd(a.v, threshold.v, _CMP_GT_OQ);
    return {_mm256_add_pd(count.v, _mm256_and_pd(above, _mm256_set1_pd(1)))};
}
EXACT_CNTK_INLINE VectorD select_negative(VectorD s, VectorD a, VectorD b) { return {_mm256_blendv_pd(b.v, a.v, s.v)}; }

}  // namespace
}  // namespace exact_cntk
