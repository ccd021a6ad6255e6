#include "scaling.hpp"

#include <algorithm>
#include <cmath>

namespace exact_cntk {
namespace {

const long double pi = std::acos(-1.0L);

// q(z) with arctan(√z)/√z = 1 + z·q(z): the leading 1 is kept out of the fit.
long double arctan_remainder(long double z) {
    const long double root = std::sqrt(z);
    return (std::atan(root) / root - 1) / z;
}

// Coefficients, lowest first, of the polynomial that meets q at the Chebyshev points of [0, 1]. Its error is within a
// factor of about 2 of the best polynomial's and falls by 3 + √8 = 5.8 a degree (singularity at z = −1).
std::vector<long double> fit_arctan_remainder(int degree) {
    const int points = degree + 1;
    std::vector<long double> node(points), difference(points), coefficient(points, 0.0L);
    for (int i = 0; i < points; ++i) {
        node[i] = (1 + std::cos(pi * (2 * i + 1) / (2 * points))) / 2;
        difference[i] = arctan_remainder(node[i]);
    }
    for (int order = 1; order < points; ++order)
        for (int i = points - 1; i >= order; --i)
            difference[i] = (difference[i] - difference[i - 1]) / (node[i] - node[i - order]);
    // Newton's form to powers of z, innermost bracket first.
    for (int i = points - 1; i >= 0; --i) {
        for (int k = points - 1; k > 0; --k) coefficient[k] = coefficient[k - 1] - node[i] * coefficient[k];
        coefficient[0] = difference[i] - node[i] * coefficient[0];
    }
    return coefficient;
}

// Takes the diagonal of a constant image through one layer and returns its largest value.
double next_peak(BoxFilter& box, std::vector<double>& diagonal) {
    box.apply(diagonal);
    return *std::max_element(diagonal.begin(), diagonal.end());
}

}  // namespace

// Whole rows at a time, so that the compiler vectorises: preparing an image costs as much as tens of its flatten pairs.
void BoxFilter::apply(std::vector<double>& field) {
    const int height = shape_.height, width = shape_.width, r = shape_.radius;
    std::copy(field.begin(), field.end(), rows_.begin());
    for (int b = 1; b <= std::min(r, width - 1); ++b)
        for (int i = 0; i < height; ++i) {
            const double* source = &field[i * width];
            double* target = &rows_[i * width];
            for (int j = b; j < width; ++j) target[j] += source[j - b];
            for (int j = 0; j < width - b; ++j) target[j] += source[j + b];
        }
    std::copy(rows_.begin(), rows_.end(), field.begin());
    for (int a = 1; a <= std::min(r, height - 1); ++a) {
        const int shift = a * width, count = (height - a) * width;
        for (int n = 0; n < count; ++n) field[n + shift] += rows_[n];
        for (int n = 0; n < count; ++n) field[n] += rows_[n + shift];
    }
}

// Each gain is the power of two that keeps the diagonal of a constant image near 1, so that nothing leaves float32's
// range at any depth, on any shape: on 32×32 pixels it is 1/8 for q = 3; on one pixel, where the box is the
// identity, 1.
Units choose_units(const Shape& shape) {
    Units units;
    BoxFilter box(shape);
    std::vector<double> diagonal(shape.pixels(), 1.0);
    double unscale = 1;
    for (int h = 0; h < shape.layers; ++h) {
        const double gain = std::exp2(-std::round(std::log2(next_peak(box, diagonal))));
        for (double& value : diagonal) value *= gain;
        unscale /= gain * shape.taps() * shape.taps();
        units.gain.push_back(gain);
        units.unscale.push_back(unscale);
        units.growth.push_back(1);
    }
    return units;
}

Units given_units(const Shape& shape, const double* gains) {
    Units units;
    BoxFilter box(shape);
    std::vector<double> diagonal(shape.pixels(), 1.0);
    double unscale = 1, growth = 1;
    for (int h = 0; h < shape.layers; ++h) {
        const double peak = next_peak(box, diagonal);
        for (double& value : diagonal) value /= peak;
        growth *= gains[h] * peak;
        unscale /= gains[h] * shape.taps() * shape.taps();
        units.gain.push_back(gains[h]);
        units.unscale.push_back(unscale);
        units.growth.push_back(growth);
    }
    return units;
}

template <class T> std::vector<Layer<T>> layer_constants(const Units& units, const std::vector<int>& emission) {
    constexpr int degree = ArccosDegree<T>::value;
    static const std::vector<long double> remainder = fit_arctan_remainder(degree - 1);
    std::vector<Layer<T>> layers(units.gain.size());
    for (std::size_t h = 0; h < layers.size(); ++h) {
        const long double gain = units.gain[h];
        layers[h].gain = static_cast<T>(gain);
        layers[h].gain_over_pi = static_cast<T>(gain / pi);
        // In K = gain·Sigma − (Sigma·arccos rho − √…)·gain/π the terms of order t cancel only if this coefficient is
        // twice the rounded gain/π; otherwise every layer adds the same error, 5e-7 of Theta at depth 21 in float32.
        layers[h].arccos[0] = 2 * layers[h].gain_over_pi;
        for (int k = 1; k <= degree; ++k) layers[h].arccos[k] = static_cast<T>(2 * gain / pi * remainder[k - 1]);
        layers[h].emission = emission[h];
    }
    return layers;
}

template std::vector<Layer<float>> layer_constants(const Units&, const std::vector<int>&);
template std::vector<Layer<double>> layer_constants(const Units&, const std::vector<int>&);

}  // namespace exact_cntk
