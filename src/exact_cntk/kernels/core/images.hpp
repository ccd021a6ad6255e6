// Images as the recursion takes them: cast, scaled, with the norm tables of all layers.
#pragma once

#include <cstdint>
#include <vector>

#include "memory.hpp"
#include "problem.hpp"
#include "scaling.hpp"

namespace exact_cntk {

// The caller's images, [count][height][width][channels].
struct ImageSource {
    const void* data;
    bool is_double;
    long count;
};

// Norms below this are raised to it, so that their products, and Sigma beside them, are normal numbers, and a zero norm
// gives rho = 0. On images scaled to 1, all that it changes lies below `noise` a pixel and layer.
template <class T> struct NormFloor;
template <> struct NormFloor<float> {
    static constexpr double value = 1e-18, noise = 1e-16;
};
template <> struct NormFloor<double> {
    static constexpr double value = 1e-150, noise = 1e-148;
};

// What is kept of an image when its pixels are gone.
struct ImageFacts {
    int exponent;  // of the power of two that turns the scaled image into the caller's
    bool black;
    std::uint64_t hash;  // of the scaled pixels
};

// One image, cast to T and divided by a power of two so that its largest value is in [1, 2): the kernel is homogeneous
// of degree 1 in each image, so this costs no rounding and keeps float32 within its range whatever the units of the
// input.
template <class T> class Image {
  public:
    Image(const ImageSource& source, long index, const Shape& shape);

    const ImageFacts& facts() const { return facts_; }
    const T* pixels() const { return pixels_.data(); }  // [channels][height][width]
    // Equal but for a power of two, so that rho = 1 at displacement (0, 0).
    bool same_as(const Image& other) const;
    // √diagonal of Sigma⁰ … Sigma^{L−1}, floored, by the closed recursion in float64: [layers][height][width].
    void norms(const Units& units, T* out) const;
    // Sums of the plane (0, 0) of K(x, x), weighted as local pooling has it, [emissions][sum_count]: there rho = 1, and
    // all is a box filter of the diagonal, here in float64.
    std::vector<double> diagonal_sums(const Units& units, const Problem<T>& problem) const;

  private:
    std::vector<double> diagonal() const;

    const Shape shape_;
    std::vector<T> pixels_;
    ImageFacts facts_;
};

// Which side of a pair an image is laid out for.
enum class Side { x, y };

// A run of images, laid out for one side of a kernel of the core.
template <class T> class ImageBlock {
  public:
    ImageBlock(const Shape& shape, const Units& units, const Layout& layout, Side side);

    // Bytes that one prepared image takes.
    std::size_t image_bytes() const { return sizeof(T) * (pixels_size_ + norms_size_) / group_; }
    // Makes room for these images of `source`; each is then made by prepare(k), in any order.
    void reserve(const ImageSource& source, std::vector<long> indices);
    void prepare(long k);

    long size() const { return static_cast<long>(indices_.size()); }
    long groups() const { return (size() + group_ - 1) / group_; }
    // Index of image k in the source.
    long index(long k) const { return indices_[k]; }
    const T* pixels(long group) const { return pixels_.get() + group * pixels_size_; }
    const T* norms(long group) const { return norms_.get() + group * norms_size_; }
    const ImageFacts& facts(long k) const { return facts_[k]; }

  private:
    void place(const T* plane, long k, int number, int count, T* group) const;

    const Shape shape_;
    const Units& units_;
    const Layout layout_;
    const int group_;
    const int pitch_;
    const std::size_t pixels_size_, norms_size_;  // of one group
    ImageSource source_{};
    std::vector<long> indices_;
    std::size_t room_ = 0;  // groups
    AlignedArray<T> pixels_, norms_;
    std::vector<ImageFacts> facts_;
};

}  // namespace exact_cntk
