// What a request asks for, in the core's own terms, and how the sums of a pair of images become its outputs.
#pragma once

#include <vector>

#include "api.hpp"
#include "images.hpp"
#include "problem.hpp"
#include "scaling.hpp"

namespace exact_cntk {

// Whether the recursion of this request runs in float64.
bool computes_in_double(const exact_cntk_request& request);

// Sums of one pair, as left by a kernel.
struct PairSums {
    // Sum s of emission e in part p is at[((p·emissions + e)·per_emission + s)·stride]. Part 0 is displacement (0, 0);
    // part 1, present if `parts` is 2, all others.
    const double* at;
    long stride;
    int parts, per_emission;
    double near[2][near_count];  // of the parts
};

template <class T> class Job {
  public:
    // Gains of all layers, or null: each has its best.
    explicit Job(const exact_cntk_request& request, const double* gains = nullptr);
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;

    bool cancelled() const { return __atomic_load_n(request.cancelled, __ATOMIC_RELAXED) != 0; }
    Image<T> image(const ImageSource& source, long index) const { return Image<T>(source, index, shape); }
    // Writes the outputs of x[i] and x′[j], mirrored where x′ is x. Returns false if the pair should be taken again in
    // float64. Different pairs may be finished at the same time.
    bool finish_pair(long i, const ImageFacts& x, long j, const ImageFacts& y, const PairSums& sums) const;
    void add_done(long pairs) const { __atomic_fetch_add(request.done, pairs, __ATOMIC_RELAXED); }

    const exact_cntk_request& request;
    const bool symmetric;
    const ImageSource x1, x2;
    const Shape shape;
    const Units units;
    std::vector<Layer<T>> layers;
    Problem<T> problem{};
    double entries = 0;  // of a pair's tensor that the readout needs

  private:
    void describe();
    void describe_readout();
    bool rounding_matters(const double (&near)[2][near_count], bool same) const;
    double in_units(int output, const double* total, int exponent) const;

    std::vector<int> emission_;  // [outputs], index of the output's depth
    double divisor_ = 1;         // of the sums that make an output
    double weight_ = 0;          // Σ of how often each entry counts
    double centre_share_ = 1;    // of it, displacement (0, 0)'s
};

}  // namespace exact_cntk
