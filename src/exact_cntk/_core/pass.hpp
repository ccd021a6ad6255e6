// One pass over all pairs of images.
#pragma once

#include "api.hpp"
#include "problem.hpp"

namespace exact_cntk {

// Fills request.out; throws std::bad_alloc. Returns early, with part of the output unwritten, once *cancelled is set.
void run_pass(const exact_cntk_request& request, const Engine& engine);

}  // namespace exact_cntk
