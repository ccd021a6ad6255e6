// The fast kernel for q = 3 in float32: neighbouring pixels in lanes, displacement planes packed into a torus.
//
// The planes of displacements (di, dj), (di − P, dj), (di, dj − Q) and (di − P, dj − Q) tile one P×Q array exactly:
// pixel (i, j) of x meets pixel ((i + di) mod P, (j + dj) mod Q) of x′. The box filter must not cross the seams between
// the four: rows are taken segment by segment, columns through lane masks. No lane is wasted but for a row's padding to
// whole vectors, and the tables of x′ are stored column-doubled, so that a shifted row is one unaligned load.
//
// ReLU, horizontal and rolling vertical box sum go down the rows in one sweep, in place, in the first-level cache.
#pragma once

#include "relu.hpp"

namespace exact_cntk {
namespace {

template <class V, int fields, int vectors> class TorusKernel {
    static constexpr int lanes = V::lanes;
    static constexpr int carried = fields + 1;
    static constexpr int pitch = vectors * lanes;
    using Mask = typename V::Mask;

    const Problem<float>& problem_;
    const Layout& layout_;
    const Operands<float>& operands_;
    float* const plane_;    // [carried][height][pitch]
    float* const discard_;  // [pitch], where the row above a segment's first one goes
    const int height_, width_;
    int di_ = 0, dj_ = 0;

    // Lanes that take their left or right neighbour into the box, and lanes that are pixels at all. Loops copy it into
    // a local variable: vector stores may alias any member, so that it would be read again after each.
    struct Masks {
        Mask from_left[vectors], from_right[vectors], in_image[vectors];
    };
    Masks masks_;
    double* near_ = nullptr;

  public:
    static std::size_t workspace(const Problem<float>& p) {
        return (static_cast<std::size_t>(carried) * p.height + 1) * pitch;
    }

    TorusKernel(const Problem<float>& problem, const Layout& layout, const Operands<float>& operands)
        : problem_(problem),
          layout_(layout),
          operands_(operands),
          plane_(operands.workspace),
          discard_(plane_ + carried * problem.height * pitch),
          height_(problem.height),
          width_(problem.width) {}

    void run() {
        const int count = 2 * problem_.emissions * sum_count;
        for (int k = 0; k < count; ++k) operands_.sums[k] = 0;
        for (int k = 0; k < 2 * near_count; ++k) operands_.near[k] = 0;
        const int rows = problem_.pooling ? height_ : 1, columns = problem_.pooling ? width_ : 1;
        for (int di = 0; di < rows; ++di)
            for (int dj = 0; dj < columns; ++dj) {
                if (__atomic_load_n(problem_.cancelled, __ATOMIC_RELAXED)) return;
                run_plane(di, dj);
            }
    }

  private:
    // What a layer does beside the ReLU.
    enum class Role { first, inner, emitting, last };

    // The sums of the rows above, in registers while a segment is swept.
    struct Rolling {
        V above[carried][vectors];      // row i − 1 after the horizontal sum
        V two_above[carried][vectors];  // rows i − 2 and i − 1
    };

    void run_plane(int di, int dj) {
        di_ = di;
        dj_ = dj;
        set_masks();
        start();
        const int part = di == 0 && dj == 0 ? 0 : 1;
        double* sums = operands_.sums + part * problem_.emissions * sum_count;
        near_ = operands_.near + part * near_count;
        for (int h = 0; h < problem_.layers; ++h) {
            const int emission = problem_.layer[h].emission;
            double* out = emission < 0 ? nullptr : sums + emission * sum_count;
            if (h == 0)
                layer<Role::first>(h, out);
            else if (h == problem_.layers - 1)
                layer<Role::last>(h, out);
            else if (out)
                layer<Role::emitting>(h, out);
            else
                layer<Role::inner>(h, out);
        }
    }

    void set_masks() {
        for (int v = 0; v < vectors; ++v) {
            unsigned left = 0, right = 0, inside = 0;
            for (int l = 0; l < lanes; ++l) {
                const int j = v * lanes + l;
                if (j >= width_) continue;
                inside |= 1U << l;
                if (j > 0 && j != width_ - dj_) left |= 1U << l;
                if (j < width_ - 1 && j != width_ - dj_ - 1) right |= 1U << l;
            }
            masks_.from_left[v] = V::mask(left);
            masks_.from_right[v] = V::mask(right);
            masks_.in_image[v] = V::mask(inside);
        }
    }

    float* row(int field, int i) const { return plane_ + (field * height_ + i) * pitch; }
    int y_row(int i) const { return i + di_ < height_ ? i + di_ : i + di_ - height_; }

    // Calls body(first row, last row + 1) for each run of rows that the vertical filter may join.
    template <class Body> EXACT_CNTK_INLINE void for_segments(const Body& body) const {
        body(0, height_ - di_);
        if (di_ > 0) body(height_ - di_, height_);
    }

    static EXACT_CNTK_INLINE void horizontal(const Masks& masks, const V (&a)[vectors], V (&sum)[vectors]) {
        for (int v = 0; v < vectors; ++v) {
            sum[v] = add_left(a[v], a[v > 0 ? v - 1 : v], a[v], masks.from_left[v]);
            sum[v] = add_right(sum[v], a[v], a[v < vectors - 1 ? v + 1 : v], masks.from_right[v]);
        }
    }

    static EXACT_CNTK_INLINE void clear(Rolling& rolling) {
        for (int f = 0; f < carried; ++f)
            for (int v = 0; v < vectors; ++v) rolling.above[f][v] = rolling.two_above[f][v] = V::set(0);
    }

    // Takes `rows` (1 or 2) rows of one field, from i on, after the horizontal sum; completes the rows i − 1 … of the
    // filtered field. Two at a time save an addition in four.
    template <int rows>
    EXACT_CNTK_INLINE void vertical(Rolling& rolling, int f, const V (&sum)[rows][vectors], float* above,
                                    float* here) const {
        for (int v = 0; v < vectors; ++v) {
            store(above + v * lanes, rolling.two_above[f][v] + sum[0][v]);
            if (rows == 1) {
                rolling.two_above[f][v] = rolling.above[f][v] + sum[0][v];
            } else {
                const V both = sum[0][v] + sum[rows - 1][v];
                store(here + v * lanes, rolling.above[f][v] + both);
                rolling.two_above[f][v] = both;
            }
            rolling.above[f][v] = sum[rows - 1][v];
        }
    }

    static EXACT_CNTK_INLINE void finish(const Rolling& rolling, int f, float* bottom) {
        for (int v = 0; v < vectors; ++v) store(bottom + v * lanes, rolling.two_above[f][v]);
    }

    // Sigma⁰ = box(Σ_c x⊗x′), and Theta⁰.
    void start() {
        const int x_plane = height_ * layout_.row_pitch, y_plane = height_ * layout_.column_pitch;
        const Masks masks = masks_;
        for_segments([&](int begin, int end) __attribute__((always_inline)) {
            Rolling rolling;
            clear(rolling);
            for (int i = begin; i < end; ++i) {
                const float* x = operands_.x_pixels + i * layout_.row_pitch;
                const float* y = operands_.y_pixels + y_row(i) * layout_.column_pitch + dj_;
                V product[vectors], sum[1][vectors];
                for (int v = 0; v < vectors; ++v) {
                    product[v] = V::set(0);
                    for (int c = 0; c < problem_.channels; ++c)
                        product[v] = fma(V::load(x + c * x_plane + v * lanes), V::load(y + c * y_plane + v * lanes),
                                         product[v]);
                }
                horizontal(masks, product, sum[0]);
                vertical<1>(rolling, 0, sum, i > begin ? row(0, i - 1) : discard_, nullptr);
            }
            finish(rolling, 0, row(0, end - 1));
        });
        const int count = height_ * pitch;
        for (int f = 1; f < carried; ++f) {
            const bool from_sigma = fields == 2 ? f == 2 : problem_.theta_from_sigma;
            for (int k = 0; k < count; ++k) row(f, 0)[k] = from_sigma ? row(0, 0)[k] : 0.0F;
        }
    }

    template <Role role> void layer(int h, double* out) {
        const Masks masks = masks_;
        V total[carried][vectors];
        NearCounter<V> counter(problem_.layer[h]);
        for (int f = 0; f < carried; ++f)
            for (int v = 0; v < vectors; ++v) total[f][v] = V::set(0);
        for_segments([&](int begin, int end) __attribute__((always_inline)) {
            Rolling rolling;
            clear(rolling);
            int i = begin;
            for (; i + 2 <= end; i += 2) sweep<role, 2>(masks, h, i, i > begin, rolling, total, counter);
            if (i < end) sweep<role, 1>(masks, h, i, i > begin, rolling, total, counter);
            if (role != Role::last)
                for (int f = 0; f < carried; ++f) finish(rolling, f, row(f, end - 1));
        });
        if (out)
            for (int f = 0; f < carried; ++f)
                for (int v = 0; v < vectors; ++v) out[f] += sum_lanes(total[f][v]);
        if (role == Role::first)
            for (int c = 0; c < near_count; ++c) near_[c] += sum_lanes(counter.count[c]);
    }

    // `rows` rows from i on through one layer.
    template <Role role, int rows>
    EXACT_CNTK_INLINE void sweep(const Masks& masks, int h, int i, bool joined, Rolling& rolling,
                                 V (&total)[carried][vectors], NearCounter<V>& counter) const {
        constexpr int n = rows * vectors;
        const float* norms_x = operands_.x_norms + (h * height_ + i) * layout_.row_pitch;
        const float* norms_y = operands_.y_norms + h * height_ * layout_.column_pitch + dj_;
        V sigma[n], norm_x[n], norm_y[n], k[n], k_dot[n];
        for (int r = 0; r < rows; ++r) {
            const float* y = norms_y + y_row(i + r) * layout_.column_pitch;
            for (int v = 0; v < vectors; ++v) {
                const int u = r * vectors + v;
                sigma[u] = V::load(row(0, i) + u * lanes);
                norm_x[u] = V::load(norms_x + u * lanes);
                norm_y[u] = V::load(y + v * lanes);
            }
        }
        relu_layer<role == Role::first>(problem_.layer[h], sigma, norm_x, norm_y, k, k_dot);
        if (role == Role::first)
            for (int u = 0; u < n; ++u) counter.add(k_dot[u]);
        for (int f = 0; f < carried; ++f) {
            V value[rows][vectors], sum[rows][vectors];
            for (int u = 0; u < n; ++u) {
                const int r = u / vectors, v = u % vectors;
                if (f == 0) {
                    value[r][v] = k[u];
                    if (role != Role::inner) total[0][v] = add_where(masks.in_image[v], total[0][v], k[u]);
                } else {
                    const V field = V::load(row(f, i) + u * lanes);
                    if (role != Role::inner) total[f][v] = add_where(masks.in_image[v], total[f][v], k_dot[u] * field);
                    value[r][v] = f == 1 ? fma(k_dot[u], field, k[u]) : k_dot[u] * field;
                }
            }
            if (role == Role::last) continue;
            for (int r = 0; r < rows; ++r) horizontal(masks, value[r], sum[r]);
            vertical<rows>(rolling, f, sum, joined ? row(f, i - 1) : discard_, row(f, i));
        }
    }
};

template <class V, int fields, int vectors>
void run_torus(const Problem<float>& problem, const Layout& layout, const Operands<float>& operands) {
    TorusKernel<V, fields, vectors>(problem, layout, operands).run();
}

template <class V, int fields, int vectors> Method<float> torus_method(const Problem<float>& problem) {
    const int pitch = vectors * V::lanes;
    // A row of x′ is read from any displacement on.
    const int column_pitch = problem.pooling ? (problem.width + pitch + 15) / 16 * 16 : pitch;
    return {{1, false, pitch, column_pitch}, run_torus<V, fields, vectors>,
            TorusKernel<V, fields, vectors>::workspace(problem)};
}

template <class V, int vectors> Method<float> select_torus_fields(const Problem<float>& problem) {
    switch (problem.fields) {
        case Fields::sigma_only: return torus_method<V, 0, vectors>(problem);
        case Fields::theta: return torus_method<V, 1, vectors>(problem);
        default: return torus_method<V, 2, vectors>(problem);
    }
}

// For up to four vectors a row; a null kernel for what this kernel does not do.
template <class V> Method<float> select_torus(const Problem<float>& problem) {
    if (problem.radius != 1) return {};
    switch ((problem.width + V::lanes - 1) / V::lanes) {
        case 1: return select_torus_fields<V, 1>(problem);
        case 2: return select_torus_fields<V, 2>(problem);
        case 3: return select_torus_fields<V, 3>(problem);
        case 4: return select_torus_fields<V, 4>(problem);
        default: return {};
    }
}

}  // namespace
}  // namespace exact_cntk
