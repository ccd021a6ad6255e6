#include "simd_portable.hpp"
//
#include "pairs_kernel.hpp"

namespace exact_cntk {

extern const Engine engine_portable;
const Engine engine_portable = {"portable", select_pairs<VectorF>, select_pairs<VectorD>};

}  // namespace exact_cntk
