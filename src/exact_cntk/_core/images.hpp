// Images in the layout that a kernel reads, with the norm tables of all layers.
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

// Which side of a pair an image is laid out for.
enum class Side { x, y };

// A run of images, prepared for one side.
//
// Each image is divided by a power of two so that its largest value is in [1, 2): the kernel is homogeneous of degree
// 1 in each image, so this costs no rounding and keeps float32 within its range whatever the units of the input.
template <class T> class ImageBlock {
  public:
    ImageBlock(const Shape& shape, const Units& units, const Layout& layout, Side side);

    // Bytes that one prepared image takes.
    std::size_t image_bytes() const;
    // Makes room for these images of `source`; each is then made by prepare(k), in any order.
    void reserve(const ImageSource& source, std::vector<long> indices);
    void prepare(long k);

    long size() const { return static_cast<long>(indices_.size()); }
    long groups() const { return (size() + group_ - 1) / group_; }
    // Index of image k in the source.
    long index(long k) const { return indices_[k]; }
    const T* pixels(long group) const { return pixels_.get() + group * pixels_size_; }
    const T* norms(long group) const { return norms_.get() + group * norms_size_; }
    int exponent(long k) const { return exponent_[k]; }
    bool is_black(long k) const { return black_[k]; }
    // Equal but for a power of two, so that rho = 1 at displacement (0, 0).
    bool same_image(long k, const ImageBlock& other, long other_k) const;
    // Sums of the plane (0, 0) of K(x, x), [emissions][sum_count]: there rho = 1, and all is a box filter of the
    // diagonal, here in float64.
    std::vector<double> diagonal_sums(long k, const Problem<T>& problem) const;

  private:
    void diagonal(long k, std::vector<double>& values) const;
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
    std::vector<T> planar_;  // [count][channels][height][width], as cast and scaled
    std::vector<std::uint64_t> hash_;
    std::vector<int> exponent_;
    std::vector<char> black_;
};

}  // namespace exact_cntk
