#include "images.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

namespace exact_cntk {
namespace {

std::uint64_t hash_bytes(const void* data, std::size_t bytes) {
    // FNV-1a: only a filter before the comparison of bytes.
    std::uint64_t hash = 14695981039346656037ULL;
    const unsigned char* p = static_cast<const unsigned char*>(data);
    for (std::size_t k = 0; k < bytes; ++k) hash = (hash ^ p[k]) * 1099511628211ULL;
    return hash;
}

}  // namespace

template <class T>
ImageBlock<T>::ImageBlock(const Shape& shape, const Units& units, const Layout& layout, Side side)
    : shape_(shape),
      units_(units),
      layout_(layout),
      group_(side == Side::x ? 1 : layout.group),
      pitch_(side == Side::x ? layout.row_pitch : layout.column_pitch),
      pixels_size_(static_cast<std::size_t>(shape.channels) * shape.height * pitch_ * group_),
      norms_size_(static_cast<std::size_t>(shape.layers) * shape.height * pitch_ * group_) {}

template <class T> std::size_t ImageBlock<T>::image_bytes() const {
    const std::size_t planar = static_cast<std::size_t>(shape_.channels) * shape_.pixels();
    return sizeof(T) * ((pixels_size_ + norms_size_) / group_ + planar);
}

template <class T> void ImageBlock<T>::reserve(const ImageSource& source, std::vector<long> indices) {
    source_ = source;
    indices_ = std::move(indices);
    const std::size_t needed = groups(), count = indices_.size();
    if (needed > room_) {
        pixels_ = AlignedArray<T>();
        norms_ = AlignedArray<T>();
        room_ = 0;
        pixels_ = AlignedArray<T>(needed * pixels_size_);
        norms_ = AlignedArray<T>(needed * norms_size_);
        room_ = needed;
    }
    planar_.resize(count * shape_.channels * shape_.pixels());
    hash_.resize(count);
    exponent_.resize(count);
    black_.resize(count);
}

template <class T> void ImageBlock<T>::prepare(long k) {
    const int pixels = shape_.pixels(), channels = shape_.channels, values = pixels * channels;
    const std::size_t offset = static_cast<std::size_t>(indices_[k]) * values;
    const auto input = [&](int v) {
        return source_.is_double ? static_cast<const double*>(source_.data)[offset + v]
                                 : static_cast<double>(static_cast<const float*>(source_.data)[offset + v]);
    };
    double largest = 0;
    for (int v = 0; v < values; ++v) largest = std::max(largest, std::abs(input(v)));
    black_[k] = largest == 0;
    exponent_[k] = black_[k] ? 0 : std::ilogb(largest);
    T* planar = planar_.data() + static_cast<std::size_t>(k) * values;
    for (int n = 0; n < pixels; ++n)
        for (int c = 0; c < channels; ++c)
            // "+ 0" makes −0 the same bytes as 0.
            planar[c * pixels + n] = static_cast<T>(std::ldexp(input(n * channels + c), -exponent_[k])) + T(0);
    hash_[k] = hash_bytes(planar, values * sizeof(T));

    T* group_pixels = pixels_.get() + k / group_ * pixels_size_;
    T* group_norms = norms_.get() + k / group_ * norms_size_;
    for (int c = 0; c < channels; ++c) place(planar + c * pixels, k, c, channels, group_pixels);
    BoxFilter box(shape_);
    std::vector<double> sigma;
    std::vector<T> norms(pixels);
    diagonal(k, sigma);
    for (int h = 0; h < shape_.layers; ++h) {
        for (int n = 0; n < pixels; ++n) norms[n] = static_cast<T>(std::max(std::sqrt(sigma[n]), NormFloor<T>::value));
        place(norms.data(), k, h, shape_.layers, group_norms);
        box.apply(sigma);
        for (double& value : sigma) value *= units_.gain[h];
    }
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

template <class T> bool ImageBlock<T>::same_image(long k, const ImageBlock& other, long other_k) const {
    if (hash_[k] != other.hash_[other_k]) return false;
    const std::size_t size = static_cast<std::size_t>(shape_.channels) * shape_.pixels();
    return std::memcmp(planar_.data() + k * size, other.planar_.data() + other_k * size, size * sizeof(T)) == 0;
}

// The diagonal of Sigma⁰(x, x).
template <class T> void ImageBlock<T>::diagonal(long k, std::vector<double>& values) const {
    const int pixels = shape_.pixels();
    const T* planar = planar_.data() + static_cast<std::size_t>(k) * shape_.channels * pixels;
    values.assign(pixels, 0.0);
    for (int c = 0; c < shape_.channels; ++c)
        for (int n = 0; n < pixels; ++n) {
            const double value = planar[c * pixels + n];
            values[n] += value * value;
        }
    BoxFilter(shape_).apply(values);
}

template <class T>
std::vector<double> ImageBlock<T>::diagonal_sums(long k, const Problem<T>& problem) const {
    const int pixels = shape_.pixels();
    std::vector<double> sums(problem.emissions * sum_count, 0.0), sigma;
    diagonal(k, sigma);
    const bool both = problem.fields == Fields::theta_and_gap;
    std::vector<double> theta(pixels, 0.0), gap(pixels, 0.0), k_now(pixels);
    BoxFilter box(shape_);
    if (both) gap = sigma;
    if (!both && problem.theta_from_sigma) theta = sigma;
    for (int h = 0; h < shape_.layers; ++h) {
        const double gain = units_.gain[h];
        double* out = problem.layer[h].emission < 0 ? nullptr : &sums[problem.layer[h].emission * sum_count];
        for (int n = 0; n < pixels; ++n) {
            // rho = 1, or 0 where the norm is 0.
            const double k_dot = sigma[n] > 0 ? gain : gain / 2;
            k_now[n] = gain * sigma[n];
            theta[n] *= k_dot;
            gap[n] *= k_dot;
            if (out) {
                out[sum_k] += k_now[n];
                out[sum_theta] += theta[n];
                out[sum_gap] += gap[n];
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

template class ImageBlock<float>;
template class ImageBlock<double>;

}  // namespace exact_cntk
