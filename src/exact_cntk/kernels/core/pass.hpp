// One pass over all pairs of images.
#pragma once

#include <vector>

#include "api.hpp"
#include "problem.hpp"

namespace exact_cntk {

// A pair of images by their indices.
struct Pair {
    long i, j;
};

// Fills request.out; throws std::bad_alloc. Returns early, with part of the output unwritten, once *cancelled is set.
void run_pass(const exact_cntk_request& request, const Engine& engine);
// The outputs of these pairs alone, in float64 whatever the request says.
void run_pairs_in_double(const exact_cntk_request& request, const Engine& engine, std::vector<Pair> pairs);

}  // namespace exact_cntk
