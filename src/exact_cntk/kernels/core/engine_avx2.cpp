#include "simd_avx2.hpp"
//
#include "pairs_kernel.hpp"
#include "torus_kernel.hpp"

namespace exact_cntk {
namespace {

Method<float> select_float(const Problem<float>& problem) {
    const Method<float> torus = select_torus<VectorF>(problem);
    return torus.kernel ? torus : select_pairs<VectorF>(problem);
}

}  // namespace

extern const Engine engine_avx2;
const Engine engine_avx2 = {"avx2", select_float, select_pairs<VectorD>};

}  // namespace exact_cntk
