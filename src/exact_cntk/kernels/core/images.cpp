#include "images.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "pooling.hpp"

namespace exact_cntk {
namespace {

// FNV-1a, a pixel at a time: only a filter before the comparison of pixels.
template <class T> std::uint64_t hash_of(const std::vector<T>& pixels) {
    std::uint64_t hash = 14695981039346656037ULL;
    for (const T& pixel : pixels) {
        std::uint64_t bits = 0;
        std::memcpy(&bits, &pixel, sizeof pixel);
        hash = (hash ^ bits) * 1099511628211ULL;
    }
    return hash;
}

// How often entry (n, n) of a tensor counts, for each pixel n.
template <class T> std::vector<double> diagonal_weights(const Problem<T>& problem) {
    std::vector<double> weights(problem.height * problem.width, 1.0);
    if (problem.pooling_radius < 0) return weights;
    for (int i = 0; i < problem.height; ++i)
        for (int j = 0; j < problem.width; ++j)
            weights[i * problem.width + j] =
                windows_with_both(i, 0, problem.pooling_radius, problem.height) *
                static_cast<double>(windows_with_both(j, 0, problem.pooling_radius, problem.width));
    return weights;
}

}  // namespace

template <class T>
Image<T>::Image(const ImageSource& source, long index, const Shape& shape)
    : shape_(shape), pixels_(static_cast<std::size_t>(shape.channels) * shape.pixels()) {
    const int pixels = shape.pixels(), channels = shape.channels, values = pixels * channels;
    const std::size_t offset = static_cast<std::size_t>(index) * values;
    const auto input = [&](int v) {
        return source.is_double ? static_cast<const double*>(source.data)[offset + v]
                                : static_cast<double>(static_cast<const float*>(source.data)[offset + v]);
    };
    double largest = 0;
    for (int v = 0; v < values; ++v) largest = std::max(largest, std::abs(input(v)));
    facts_.black = largest == 0;
    facts_.exponent = facts_.black ? 0 : std::ilogb(largest);
    // 2^−exponent in two factors, since that of a tiny image is not a double.
    const double half = std::ldexp(1.0, -facts_.exponent / 2);
    const double rest = std::ldexp(1.0, -facts_.exponent - -facts_.exponent / 2);
    for (int n = 0; n < pixels; ++n)
        for (int c = 0; c < channels; ++c)
            // "+ 0" makes −0 the same bytes as 0.
            pixels_[c * pixels + n] = static_cast<T>(input(n * channels + c) * half * rest) + T(0);
    facts_.hash = hash_of(pixels_);
}

template <class T> bool Image<T>::same_as(const Image& other) const {
    return facts_.hash == other.facts_.hash && pixels_ == other.pixels_;
}

// The diagonal of Sigma⁰(x, x).
template <class T> std::vector<double> Image<T>::diagonal() const {
    const int pixels = shape_.pixels();
    std::vector<double> values(pixels, 0.0);
    for (int c = 0; c < shape_.channels; ++c)
        for (int n = 0; n < pixels; ++n) {
            const double value = pixels_[c * pixels + n];
            values[n] += value * value;
        }
    BoxFilter(shape_).apply(values);
    return values;
}

template <class T> void Image<T>::norms(const Units& units, T* out) const {
    const int pixels = shape_.pixels();
    BoxFilter box(shape_);
    std::vector<double> sigma = diagonal();
    for (int h = 0; h < shape_.layers; ++h, out += pixels) {
        for (int n = 0; n < pixels; ++n) out[n] = static_cast<T>(std::max(std::sqrt(sigma[n]), NormFloor<T>::value));
        box.apply(sigma);
        for (double& value : sigma) value *= units.gain[h];
    }
}

template <class T>
std::vector<double> Image<T>::diagonal_sums(const Units& units, const Problem<T>& problem) const {
    const int pixels = shape_.pixels();
    std::vector<double> sums(problem.emissions * sum_count, 0.0), sigma = diagonal();
    const bool both = problem.fields == Fields::theta_and_gap;
    std::vector<double> theta(pixels, 0.0), gap(pixels, 0.0), k_now(pixels);
    const std::vector<double> weight = diagonal_weights(problem);
    BoxFilter box(shape_);
    if (both) gap = sigma;
    if (!both && problem.theta_from_sigma) theta = sigma;
    for (int h = 0; h < shape_.layers; ++h) {
        const double gain = units.gain[h];
        double* out = problem.layer[h].emission < 0 ? nullptr : &sums[problem.layer[h].emission * sum_count];
        for (int n = 0; n < pixels; ++n) {
            // rho = 1, or 0 where the norm is 0.
            const double k_dot = sigma[n] > 0 ? gain : gain / 2;
            k_now[n] = gain * sigma[n];
            theta[n] *= k_dot;
            gap[n] *= k_dot;
            if (out) {
                out[sum_k] += weight[n] * k_now[n];
                out[sum_theta] += weight[n] * theta[n];
                out[sum_gap] += weight[n] * gap[n];
            }
            theta[n] += k_now[n];
        }
        sigma = k_now;
        box.apply(sigma);
        box.apply(theta);
        if (both) box.apply(gap);
    }
    return sums;
}

template <class T>
ImageBlock<T>::ImageBlock(const Shape& shape, const Units& units, const Layout& layout, Side side)
    : shape_(shape),
      units_(units),
      layout_(layout),
      group_(side == Side::x ? 1 : layout.group),
      pitch_(side == Side::x ? layout.row_pitch : layout.column_pitch),
      pixels_size_(static_cast<std::size_t>(shape.channels) * shape.height * pitch_ * group_),
      norms_size_(static_cast<std::size_t>(shape.layers) * shape.height * pitch_ * group_) {}

template <class T> void ImageBlock<T>::reserve(const ImageSource& source, std::vector<long> indices) {
    source_ = source;
    indices_ = std::move(indices);
    const std::size_t needed = groups();
    if (needed > room_) {
        pixels_ = AlignedArray<T>();
        norms_ = AlignedArray<T>();
        room_ = 0;
        pixels_ = AlignedArray<T>(needed * pixels_size_);
        norms_ = AlignedArray<T>(needed * norms_size_);
        room_ = needed;
    }
    facts_.resize(indices_.size());
}

template <class T> void ImageBlock<T>::prepare(long k) {
    const int pixels = shape_.pixels();
    const Image<T> image(source_, indices_[k], shape_);
    facts_[k] = image.facts();
    T* group_pixels = pixels_.get() + k / group_ * pixels_size_;
    T* group_norms = norms_.get() + k / group_ * norms_size_;
    for (int c = 0; c < shape_.channels; ++c) place(image.pixels() + c * pixels, k, c, shape_.channels, group_pixels);
    std::vector<T> norms(static_cast<std::size_t>(shape_.layers) * pixels);
    image.norms(units_, norms.data());
    for (int h = 0; h < shape_.layers; ++h)
        place(norms.data() + static_cast<std::size_t>(h) * pixels, k, h, shape_.layers, group_norms);
}

// Plane `number` of `count` of image k into its group: interleaved, or as rows that repeat themselves up to the pitch.
// An incomplete group repeats its last image, so that what is computed beside it are ordinary numbers.
template <class T> void ImageBlock<T>::place(const T* plane, long k, int number, int count, T* group) const {
    const int first = static_cast<int>(k % group_), last = k == size() - 1 ? group_ : first + 1;
    const std::size_t plane_size = static_cast<std::size_t>(shape_.height) * pitch_;
    for (int member = first; member < last; ++member) {
        if (layout_.lanes_are_pairs) {
            T* target = group + number * plane_size * group_ + member;
            for (int n = 0; n < shape_.pixels(); ++n) target[n * group_] = plane[n];
            continue;
        }
        const T* row = plane;
        T* target = group + (member * static_cast<std::size_t>(count) + number) * plane_size;
        for (int i = 0; i < shape_.height; ++i, target += pitch_, row += shape_.width)
            for (int j = 0; j < pitch_; j += shape_.width)
                std::copy_n(row, std::min(shape_.width, pitch_ - j), target + j);
    }
}

template class Image<float>;
template class Image<double>;
template class ImageBlock<float>;
template class ImageBlock<double>;

}  // namespace exact_cntk
