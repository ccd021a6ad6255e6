// What one pass computes, in the form in which the vector kernels read it.
//
// Plain data only: this header is compiled under several instruction sets, and an inline function emitted under
// AVX-512 could be the copy that the linker keeps for every caller.
#pragma once

#include <cstddef>

namespace exact_cntk {

// Degrees of the polynomial in z that replaces arccos, chosen so that its error is below the type's own rounding.
template <class T> struct ArccosDegree;
template <> struct ArccosDegree<float> {
    static constexpr int value = 7;
};
template <> struct ArccosDegree<double> {
    static constexpr int value = 21;
};

// Constants of one ReLU layer. `gain` is a power of two close to 1/q² (see scaling.cpp): the recursion is carried in
// units that grow by q²·gain a layer, which makes the leading term gain·Sigma exact.
template <class T> struct Layer {
    T gain;                                // stands in for 1/q²
    T gain_over_pi;                        // gain/π
    T arccos[ArccosDegree<T>::value + 1];  // gain/π · arccos(rho) = t·Σ_k arccos[k]·z^k, see relu.hpp
    int emission;                          // index of this layer among the requested depths, or -1
};

// Fields that a pass carries beside Sigma.
enum class Fields : int {
    sigma_only = 0,     // NNGP alone
    theta = 1,          // one of the trained variants: they differ in Theta⁰ only
    theta_and_gap = 2,  // both: Theta of the hidden layers, and what training all layers adds to it
};

// Sums that every requested depth yields, over the pixels of the readout.
enum Sum : int {
    sum_k = 0,      // Σ K
    sum_theta = 1,  // Σ K_dot ⊙ Theta
    sum_gap = 2,    // Σ K_dot ⊙ (Theta_all − Theta_hidden)
    sum_count = 3,
};

// How near to rho = 1 the pairs of pixels are in the first layer, as counts. Rounding of 1 − rho, harmless for a few
// pixels, is worth a second pass in float64 where most are near.
enum Near : int {
    near_same = 0,   // not to be told from rho = 1
    near_close = 1,  // angles below `close_angle`, those included
    near_count = 2,
};
constexpr double close_angle = 0.01;

template <class T> struct Problem {
    int height, width, channels;
    int radius;      // (q − 1)/2
    int layers;      // ReLU layers of the deepest network
    int emissions;   // requested depths
    bool pooling;    // other displacements than (0, 0) count, too
    int reach_rows;  // the largest displacements that count
    int reach_columns;
    int pooling_radius;     // of local pooling, (w − 1)/2: entries count as windows_with_both says; −1: all count once
    bool theta_from_sigma;  // Theta⁰ = Sigma⁰ (all layers trained) instead of 0
    Fields fields;
    const Layer<T>* layer;  // [layers]
    const int* cancelled;   // set by another thread; read between planes
};

// How images are laid out for a kernel.
struct Layout {
    int group;             // column images taken together by one call
    bool lanes_are_pairs;  // the group is interleaved: [..][pixel][group]; otherwise one image after the other
    int row_pitch;         // stored width of a row of x
    int column_pitch;      // stored width of a row of x′, column-doubled for pooling
};

// One call of a kernel: x against a group of x′.
//
// Pixels are [channels][height][pitch], norms are [layers][height][pitch]: the square roots of the diagonals of
// Sigma⁰ … Sigma^{L−1}. `sums` is [2][emissions][sum_count][group] and `near` [2][near_count][group]: first
// displacement (0, 0), then all others.
template <class T> struct Operands {
    const T* x_pixels;
    const T* x_norms;
    const T* y_pixels;
    const T* y_norms;
    T* workspace;
    double* sums;
    double* near;
};

template <class T> using Kernel = void (*)(const Problem<T>&, const Layout&, const Operands<T>&);

template <class T> struct Method {
    Layout layout;
    Kernel<T> kernel;
    std::size_t workspace;  // elements of T, 64-byte aligned
};

// The kernels of one instruction set.
struct Engine {
    const char* name;
    Method<float> (*select_float)(const Problem<float>&);
    Method<double> (*select_double)(const Problem<double>&);
};

}  // namespace exact_cntk
