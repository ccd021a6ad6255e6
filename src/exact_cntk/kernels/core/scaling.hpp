// Units and constants of the recursion that depend on the problem's shape alone.
#pragma once

#include <vector>

#include "problem.hpp"

namespace exact_cntk {

// The shape of images and filter, and the layers of a pass.
struct Shape {
    int height, width, channels, radius, layers;
    int pixels() const { return height * width; }
    int taps() const { return 2 * radius + 1; }
};

// field[i, j] ← Σ_{|a|, |b| ≤ radius} field[i+a, j+b], zero outside.
class BoxFilter {
  public:
    explicit BoxFilter(const Shape& shape) : shape_(shape), rows_(shape.pixels()) {}
    void apply(std::vector<double>& field);

  private:
    const Shape shape_;
    std::vector<double> rows_;
};

// Gains of all layers; `unscale[h]`: what turns sums over the pixels of layer h into the kernel's own units; and
// `growth[h]`: about how large the diagonal of a constant image of ones has become.
struct Units {
    std::vector<double> gain, unscale, growth;
};
Units choose_units(const Shape& shape);
// Units by given gains: [layers].
Units given_units(const Shape& shape, const double* gains);

// `emission[h]` is the index of layer h among the requested depths, or -1.
template <class T> std::vector<Layer<T>> layer_constants(const Units& units, const std::vector<int>& emission);

}  // namespace exact_cntk
