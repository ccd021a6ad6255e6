// The general kernel: one x against as many x′ as a vector has lanes, one pair a lane.
//
// Works for any image size and any odd filter, in float32 and float64: nothing crosses lanes, so the box filter is a
// sum over neighbouring vectors. Every displacement plane goes through all layers before the next one starts.
#pragma once

#include "pooling.hpp"
#include "relu.hpp"

namespace exact_cntk {
namespace {

// `weighted`: local average pooling, where a pair of pixels counts as often as windows hold it.
template <class V, int fields, int fixed_radius, bool weighted> class PairsKernel {
    using T = typename V::Scalar;
    static constexpr int lanes = V::lanes;
    static constexpr int carried = fields + 1;  // Sigma, Theta, and the gap between the trained variants

    const Problem<T>& problem_;
    const Operands<T>& operands_;
    const int radius_ = fixed_radius >= 0 ? fixed_radius : problem_.radius;
    const int taps_ = 2 * radius_ + 1;
    T* plane_[carried];  // [height][width][lanes], rows of the current displacement packed
    T* row_[carried];    // one row before the box filter, with `radius` vectors of zeros at both ends
    T* ring_[carried];   // the last `taps` rows after the horizontal sum
    T* column_weight_;   // [width], of the current displacement
    int row0_ = 0, col0_ = 0, shift_row_ = 0, shift_col_ = 0, height_ = 0, width_ = 0;

  public:
    static std::size_t workspace(const Problem<T>& p) {
        const std::size_t taps = 2 * p.radius + 1, width = p.width;
        return carried * lanes * (p.height * width + (width + 2 * p.radius) + taps * width) + (weighted ? width : 0);
    }

    PairsKernel(const Problem<T>& problem, const Operands<T>& operands) : problem_(problem), operands_(operands) {
        T* next = operands.workspace;
        for (int f = 0; f < carried; ++f) {
            plane_[f] = next;
            next += problem.height * problem.width * lanes;
            row_[f] = next;
            next += (problem.width + 2 * radius_) * lanes;
            ring_[f] = next;
            next += taps_ * problem.width * lanes;
        }
        column_weight_ = next;
    }

    void run() {
        const int count = 2 * problem_.emissions * sum_count * lanes;
        for (int k = 0; k < count; ++k) operands_.sums[k] = 0;
        for (int k = 0; k < 2 * near_count * lanes; ++k) operands_.near[k] = 0;
        const int reach_row = problem_.reach_rows, reach_col = problem_.reach_columns;
        for (int di = -reach_row; di <= reach_row; ++di)
            for (int dj = -reach_col; dj <= reach_col; ++dj) {
                if (__atomic_load_n(problem_.cancelled, __ATOMIC_RELAXED)) return;
                run_plane(di, dj);
            }
    }

  private:
    void run_plane(int di, int dj) {
        shift_row_ = di;
        shift_col_ = dj;
        row0_ = di < 0 ? -di : 0;
        col0_ = dj < 0 ? -dj : 0;
        height_ = problem_.height - (di < 0 ? -di : di);
        width_ = problem_.width - (dj < 0 ? -dj : dj);
        if (weighted)
            for (int j = 0; j < width_; ++j)
                column_weight_[j] = windows_with_both(col0_ + j, dj, problem_.pooling_radius, problem_.width);
        start();
        const int part = di == 0 && dj == 0 ? 0 : 1;
        double* sums = operands_.sums + part * problem_.emissions * sum_count * lanes;
        double* near = operands_.near + part * near_count * lanes;
        for (int h = 0; h < problem_.layers; ++h) {
            const int emission = problem_.layer[h].emission;
            double* out = emission < 0 ? nullptr : sums + emission * sum_count * lanes;
            const bool last = h == problem_.layers - 1;
            if (h == 0)
                layer<true>(h, last, out, near);
            else
                layer<false>(h, last, out, nullptr);
        }
    }

    int x_index(int i, int j) const { return (row0_ + i) * problem_.width + col0_ + j; }
    int y_index(int i, int j) const { return (row0_ + i + shift_row_) * problem_.width + col0_ + j + shift_col_; }

    // Sigma⁰ = box(Σ_c x⊗x′), and Theta⁰.
    void start() {
        const int pixels = problem_.height * problem_.width;
        clear_margins();
        box<1>([&](int i) {
            for (int j = 0; j < width_; ++j) {
                V product = V::set(0);
                for (int c = 0; c < problem_.channels; ++c)
                    product = fma(V::set(operands_.x_pixels[c * pixels + x_index(i, j)]),
                                  V::load(operands_.y_pixels + (c * pixels + y_index(i, j)) * lanes), product);
                store(row_[0] + (radius_ + j) * lanes, product);
            }
        });
        const int count = height_ * width_ * lanes;
        for (int f = 1; f < carried; ++f) {
            // The last field starts at Sigma⁰ where it is the gap between the variants.
            const bool from_sigma = fields == 2 ? f == 2 : problem_.theta_from_sigma;
            for (int k = 0; k < count; ++k) plane_[f][k] = from_sigma ? plane_[0][k] : T(0);
        }
    }

    template <bool has_negative> void layer(int h, bool last, double* out, double* near) {
        const int pixels = problem_.height * problem_.width;
        const T* norms_x = operands_.x_norms + static_cast<std::size_t>(h) * pixels;
        const T* norms_y = operands_.y_norms + static_cast<std::size_t>(h) * pixels * lanes;
        const LayerVectors<V> constants(problem_.layer[h]);
        NearCounter<V, 1> counter(problem_.layer[h]);
        V total[carried];
        for (V& t : total) t = V::set(0);
        const auto produce = [&](int i) {
            V row_sum[carried];
            for (V& r : row_sum) r = V::set(0);
            int j = 0;
            for (; j + 4 <= width_; j += 4)
                relu<has_negative, 4>(constants, i, j, norms_x + x_index(i, j), norms_y + y_index(i, j) * lanes,
                                      row_sum, counter);
            for (; j < width_; ++j)
                relu<has_negative, 1>(constants, i, j, norms_x + x_index(i, j), norms_y + y_index(i, j) * lanes,
                                      row_sum, counter);
            if (!weighted) {
                for (int f = 0; f < carried; ++f) total[f] = total[f] + row_sum[f];
                return;
            }
            const int weight = windows_with_both(row0_ + i, shift_row_, problem_.pooling_radius, problem_.height);
            for (int f = 0; f < carried; ++f) total[f] = fma(V::set(static_cast<T>(weight)), row_sum[f], total[f]);
        };
        if (last)
            for (int i = 0; i < height_; ++i) produce(i);
        else
            box<carried>(produce);
        if (out)
            for (int f = 0; f < carried; ++f) add_lanes(total[f], out + f * lanes);
        if (has_negative)
            for (int c = 0; c < near_count; ++c) add_lanes(counter.count[c][0], near + c * lanes);
    }

    static void add_lanes(V value, double* out) {
        T lane[lanes];
        store(lane, value);
        for (int l = 0; l < lanes; ++l) out[l] += lane[l];
    }

    // One ReLU layer on `n` neighbouring pixels: into the row buffers, and into the sums of K and K_dot ⊙ Theta. Sums
    // go row by row, so that float32 never adds more than a row to a row and a column to a column.
    template <bool has_negative, int n>
    EXACT_CNTK_INLINE void relu(const LayerVectors<V>& constants, int i, int j, const T* norms_x, const T* norms_y,
                                V (&row_sum)[carried], NearCounter<V, 1>& counter) {
        V sigma[n], norm_x[n], norm_y[n], k[n], k_dot[n], turn[n];
        const std::size_t at = (static_cast<std::size_t>(i) * width_ + j) * lanes;
        for (int u = 0; u < n; ++u) {
            sigma[u] = V::load(plane_[0] + at + u * lanes);
            norm_x[u] = V::set(norms_x[u]);
            norm_y[u] = V::load(norms_y + u * lanes);
        }
        ReluStart<V, n> start;
        relu_start<has_negative>(constants, sigma, norm_x, norm_y, start);
        relu_finish<has_negative>(constants, start, sigma, k, k_dot, turn);
        for (int u = 0; u < n; ++u) {
            const int to = (radius_ + j + u) * lanes;
            if (has_negative) counter.add(0, turn[u]);
            store(row_[0] + to, k[u]);
            row_sum[0] = add(row_sum[0], j + u, k[u]);
            for (int f = 1; f < carried; ++f) {
                const V product = k_dot[u] * V::load(plane_[f] + at + u * lanes);
                row_sum[f] = add(row_sum[f], j + u, product);
                store(row_[f] + to, f == 1 ? product + k[u] : product);
            }
        }
    }

    // An entry of column j added to its row's sum.
    EXACT_CNTK_INLINE V add(V sum, int j, V value) const {
        return weighted ? fma(V::set(column_weight_[j]), value, sum) : sum + value;
    }

    void clear_margins() {
        for (int f = 0; f < carried; ++f)
            for (int k = 0; k < radius_ * lanes; ++k) row_[f][k] = row_[f][(radius_ + width_) * lanes + k] = 0;
    }

    // plane ← box(rows made by `produce`): a row is overwritten only after it has been read.
    template <int count, class Produce> EXACT_CNTK_INLINE void box(const Produce& produce) {
        const std::size_t pitch = static_cast<std::size_t>(width_) * lanes;
        for (int f = 0; f < count; ++f)
            for (std::size_t k = 0; k < taps_ * pitch; ++k) ring_[f][k] = 0;
        for (int i = 0; i < height_ + radius_; ++i) {
            if (i < height_) produce(i);
            for (int f = 0; f < count; ++f) {
                T* slot = ring_[f] + (i % taps_) * pitch;
                for (int j = 0; j < width_; ++j) {
                    V sum = V::set(0);
                    if (i < height_) {
                        sum = V::load(row_[f] + j * lanes);
                        for (int b = 1; b < taps_; ++b) sum = sum + V::load(row_[f] + (j + b) * lanes);
                    }
                    store(slot + j * lanes, sum);
                }
                if (i < radius_) continue;
                T* target = plane_[f] + (i - radius_) * pitch;
                for (std::size_t k = 0; k < pitch; k += lanes) {
                    V sum = V::load(ring_[f] + k);
                    for (int a = 1; a < taps_; ++a) sum = sum + V::load(ring_[f] + a * pitch + k);
                    store(target + k, sum);
                }
            }
        }
    }
};

template <class V, int fields, int fixed_radius, bool weighted>
void run_pairs(const Problem<typename V::Scalar>& problem, const Layout&,
               const Operands<typename V::Scalar>& operands) {
    PairsKernel<V, fields, fixed_radius, weighted>(problem, operands).run();
}

template <class V, int fields, bool weighted>
Method<typename V::Scalar> weighted_pairs_method(const Problem<typename V::Scalar>& problem) {
    const Layout layout = {V::lanes, true, problem.width, problem.width};
    const std::size_t workspace = PairsKernel<V, fields, -1, weighted>::workspace(problem);
    if (problem.radius == 1) return {layout, run_pairs<V, fields, 1, weighted>, workspace};
    return {layout, run_pairs<V, fields, -1, weighted>, workspace};
}

template <class V, int fields> Method<typename V::Scalar> pairs_method(const Problem<typename V::Scalar>& problem) {
    return problem.pooling_radius < 0 ? weighted_pairs_method<V, fields, false>(problem)
                                      : weighted_pairs_method<V, fields, true>(problem);
}

template <class V> Method<typename V::Scalar> select_pairs(const Problem<typename V::Scalar>& problem) {
    switch (problem.fields) {
        case Fields::sigma_only: return pairs_method<V, 0>(problem);
        case Fields::theta: return pairs_method<V, 1>(problem);
        default: return pairs_method<V, 2>(problem);
    }
}

}  // namespace
}  // namespace exact_cntk
