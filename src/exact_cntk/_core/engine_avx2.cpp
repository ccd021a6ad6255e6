#include "simd_avx2.hpp"
//
#include "pairs_kernel.hpp"

namespace exact_cntk {

extern const Engine engine_avx2;
const Engine engine_avx2 = {"avx2", select_pairs<VectorF>, select_pairs<VectorD>};

}  // namespace exact_cntk
