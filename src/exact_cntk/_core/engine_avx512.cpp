#include "simd_avx512.hpp"
//
#include "pairs_kernel.hpp"

namespace exact_cntk {

extern const Engine engine_avx512;
const Engine engine_avx512 = {"avx512", select_pairs<VectorF>, select_pairs<VectorD>};

}  // namespace exact_cntk
