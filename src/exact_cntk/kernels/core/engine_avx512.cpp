#include "simd_avx512.hpp"
//
#include "pairs_kernel.hpp"
#include "torus_kernel.hpp"

namespace exact_cntk {
namespace {

Method<float> select_float(const Problem<float>& problem) {
    if (problem.radius == 1 && problem.width >= 5 && problem.width <= 8)
        return select_torus_fields<HalfRows, 1>(problem);
    const Method<float> torus = select_torus<VectorF>(problem);
    return torus.kernel ? torus : select_pairs<VectorF>(problem);
}

}  // namespace

extern const Engine engine_avx512;
const Engine engine_avx512 = {"avx512", select_float, select_pairs<VectorD>};

}  // namespace exact_cntk
