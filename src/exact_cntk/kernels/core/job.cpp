#include "job.hpp"

#include <algorithm>
#include <cmath>

#include "pooling.hpp"

namespace exact_cntk {
namespace {

// A float32 pass cannot average its rounding over fewer pixels than this; float64 costs nothing there.
constexpr int fewest_float_pixels = 64;

int deepest(const exact_cntk_request& request) {
    return *std::max_element(request.output_layers, request.output_layers + request.outputs);
}

// Pairs of pixels of an image's row, or column, that count, how often in all, and how often those of a pixel with
// itself do.
struct Reach {
    double entries, weight, centre;
};

Reach reach(int size, int furthest, int radius) {
    Reach total = {};
    for (int shift = -furthest; shift <= furthest; ++shift)
        for (int p = std::max(0, -shift); p < size - std::max(0, shift); ++p) {
            const int weight = radius < 0 ? 1 : windows_with_both(p, shift, radius, size);
            total.entries += 1;
            total.weight += weight;
            if (shift == 0) total.centre += weight;
        }
    return total;
}

}  // namespace

bool computes_in_double(const exact_cntk_request& request) {
    // Nor over neighbours where there are none: with q = 1, a few pixels of nearly the same colour would show.
    const bool averages = request.filter_size > 1 && request.height * request.width >= fewest_float_pixels;
    return request.compute_in_double || !averages;
}

template <class T>
Job<T>::Job(const exact_cntk_request& asked, const double* gains)
    : request(asked),
      symmetric(asked.x2 == nullptr),
      x1{asked.x1, asked.input_is_double != 0, asked.n},
      x2{symmetric ? asked.x1 : asked.x2, asked.input_is_double != 0, symmetric ? asked.n : asked.m},
      shape{asked.height, asked.width, asked.channels, (asked.filter_size - 1) / 2, deepest(asked)},
      units(gains ? given_units(shape, gains) : choose_units(shape)),
      emission_(asked.outputs) {
    describe();
}

// Fills problem, layers and emission_ from the request.
template <class T> void Job<T>::describe() {
    std::vector<int> of_layer(shape.layers, -1);
    bool all = false, hidden = false;
    for (int o = 0; o < request.outputs; ++o) {
        of_layer[request.output_layers[o] - 1] = 0;
        all = all || request.output_kind[o] == exact_cntk_ntk_all;
        hidden = hidden || request.output_kind[o] == exact_cntk_ntk_hidden;
    }
    problem.emissions = 0;
    for (int& layer : of_layer)
        if (layer == 0) layer = problem.emissions++;
    for (int o = 0; o < request.outputs; ++o) emission_[o] = of_layer[request.output_layers[o] - 1];
    layers = layer_constants<T>(units, of_layer);
    problem.height = shape.height;
    problem.width = shape.width;
    problem.channels = shape.channels;
    problem.radius = shape.radius;
    problem.layers = shape.layers;
    describe_readout();
    problem.theta_from_sigma = all && !hidden;
    problem.fields = all && hidden ? Fields::theta_and_gap : all || hidden ? Fields::theta : Fields::sigma_only;
    problem.layer = layers.data();
    problem.cancelled = request.cancelled;
}

// A window of one pixel is no pooling, and one that covers the image from each of its pixels is global pooling: both
// then take the kernels of those, and differ in scale alone.
template <class T> void Job<T>::describe_readout() {
    const double pixels = shape.pixels();
    const int window = request.pooling_window;
    const bool local = request.pooling == exact_cntk_lap;
    const bool whole =
        request.pooling == exact_cntk_gap || (local && window >= 2 * std::max(shape.height, shape.width) - 1);
    const bool windows = local && !whole && window > 1;
    problem.reach_rows = whole ? shape.height - 1 : windows ? std::min(window, shape.height) - 1 : 0;
    problem.reach_columns = whole ? shape.width - 1 : windows ? std::min(window, shape.width) - 1 : 0;
    problem.pooling = whole || problem.reach_rows > 0 || problem.reach_columns > 0;
    problem.pooling_radius = windows ? (window - 1) / 2 : -1;
    if (request.pooling == exact_cntk_gap) divisor_ = pixels * pixels;
    if (local) divisor_ = std::pow(static_cast<double>(window), 4) / (whole ? pixels : 1);
    const Reach rows = reach(shape.height, problem.reach_rows, problem.pooling_radius);
    const Reach columns = reach(shape.width, problem.reach_columns, problem.pooling_radius);
    entries = rows.entries * columns.entries;
    weight_ = rows.weight * columns.weight;
    centre_share_ = rows.centre * columns.centre / weight_;
}

template <class T>
bool Job<T>::finish_pair(long i, const ImageFacts& x, long j, const ImageFacts& y, const PairSums& sums) const {
    const bool black = x.black || y.black;
    bool same = !black && x.hash == y.hash;
    std::vector<double> exact;
    if (same) {
        const Image<T> image = this->image(x1, i);
        same = image.same_as(this->image(x2, j));
        if (same) exact = image.diagonal_sums(units, problem);
    }
    const long part = static_cast<long>(problem.emissions) * sums.per_emission;
    const std::int64_t m = x2.count;
    for (int o = 0; o < request.outputs; ++o) {
        double total[sum_count] = {};
        for (int s = 0; s < sums.per_emission; ++s) {
            const long at = static_cast<long>(emission_[o]) * sums.per_emission + s;
            total[s] = same ? exact[emission_[o] * sum_count + s] : sums.at[at * sums.stride];
            if (sums.parts > 1) total[s] += sums.at[(part + at) * sums.stride];
        }
        const double value = black ? 0 : in_units(o, total, x.exponent + y.exponent);
        double* matrix = request.out + o * request.n * m;
        matrix[i * m + j] = value;
        if (symmetric) matrix[j * m + i] = value;
    }
    return black || !rounding_matters(sums.near, same);
}

// Whether rounding of 1 − rho shows in the result. An angle a comes out wrong by 1e-7/a, in units of which a layer's
// K_dot and Theta go wrong too: harmless on average over the entries of a pooled kernel, unless most are affected; with
// flatten, pixels are few. Where rho = 1 to rounding, the kernels set it to 1: right for flat patches, of which images
// have many, but between near-duplicates nearly all pixels are like that and none is exactly so.
template <class T> bool Job<T>::rounding_matters(const double (&near)[2][near_count], bool same) const {
    if (sizeof(T) == sizeof(double)) return false;
    const double pixels = shape.pixels();
    const double elsewhere = near[1][near_close] - near[1][near_same];
    double centre = near[0][near_close] - near[0][near_same];
    if (same)
        centre = 0;  // taken from the closed form
    else if (near[0][near_close] > pixels * 15 / 16)
        return true;
    if (!problem.pooling) return centre > pixels / 128;
    if (problem.pooling_radius < 0) return centre > pixels / 8 || centre + elsewhere > pixels * pixels / 8;
    // Between the two, a near-duplicate that is shifted shows as well: one displacement, of the few that windows reach,
    // holds it, and there, too, rho is set to 1 where it is not. Flat patches are as many only in images that are
    // little else. Entries elsewhere weigh at most what those of the centre do.
    const double weight = centre_share_ / pixels;
    return centre > pixels / 8 || (centre + elsewhere) * weight > 1.0 / 64 || near[1][near_close] * weight > 1.0 / 16;
}

// One output from the sums of its depth.
template <class T> double Job<T>::in_units(int output, const double* total, int exponent) const {
    double value = 0;
    if (request.output_kind[output] != exact_cntk_nngp) value += total[sum_theta];
    if (request.output_kind[output] != exact_cntk_ntk_hidden) value += total[sum_k];
    if (request.output_kind[output] == exact_cntk_ntk_all && problem.fields == Fields::theta_and_gap)
        value += total[sum_gap];
    const int layer = request.output_layers[output] - 1;
    // Nothing but raised norms, see NormFloor: images that no filter sees together.
    if (std::abs(value) < NormFloor<T>::noise * units.growth[layer] * weight_ * shape.layers) return 0;
    value *= units.unscale[layer];
    return std::ldexp(value / divisor_, exponent);
}

template class Job<float>;
template class Job<double>;

}  // namespace exact_cntk
