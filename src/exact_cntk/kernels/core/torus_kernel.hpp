// The fast kernel for q = 3 in float32: neighbouring pixels in lanes, displacement planes packed into a torus.
//
// The planes of displacements (di, dj), (di − P, dj), (di, dj − Q) and (di − P, dj − Q) tile one P×Q array exactly:
// pixel (i, j) of x meets pixel ((i + di) mod P, (j + dj) mod Q) of x′. The box filter must not cross the seams between
// the four: the rolling vertical sum restarts at one, lane masks keep the horizontal sum from crossing the other. No
// lane is wasted but for a row's padding to whole vectors, and the tables of x′ are stored column-doubled, so that a
// shifted row is one unaligned load.
//
// A layer is one sweep over the rows, in place, in the first-level cache. It is a pipeline of three stages: division
// and square root of row i + 2 (relu_start), the polynomial of row i + 1 (relu_finish), the box filter of row i. A
// core's schedulers look hardly further than one row, so that none of the three may wait for another of the same pass.
//
// Local average pooling takes the planes that hold a displacement within its reach, and weighs their entries in the
// sums; those beyond it weigh nothing.
//
// What binds on Zen 4 are its two pipes for multiplication: 13 products, a comparison, and the time of two products
// each for division and root are 18 cycles for a vector of AVX-512; an inner layer takes 22.
#pragma once

#include "pooling.hpp"
#include "relu.hpp"

namespace exact_cntk {
namespace {

// How pixels lie in a vector: here, all are neighbours in a row of one pair of images. HalfRows in simd_avx512.hpp is
// the other way.
template <class Vector> struct WholeRows {
    using V = Vector;
    static constexpr int packed = 1;         // pairs in a vector
    static constexpr int pixels = V::lanes;  // of each
    // Lanes of the pixels whose bit is set.
    static EXACT_CNTK_INLINE typename V::Mask mask(unsigned bits) { return V::mask(bits); }
    static EXACT_CNTK_INLINE V load_x(const float* x) { return V::load(x); }
    static EXACT_CNTK_INLINE V load_y(const float* y, int /* to the next image */) { return V::load(y); }
    static EXACT_CNTK_INLINE void add_sums(V a, double* sums) { sums[0] += sum_lanes(a); }
};

// x meets `images` x′ at once, of `vectors` vectors a row. `weighted`: local average pooling.
template <class Rows, int fields, int vectors, int images, bool weighted> class TorusKernel {
    using V = typename Rows::V;
    static constexpr int lanes = V::lanes;
    static constexpr int carried = fields + 1;
    static constexpr int x_pitch = vectors * Rows::pixels;
    static constexpr int stacks = images / Rows::packed;
    static constexpr int n = vectors * stacks;  // vectors of a row of the plane, one stack after the other
    static constexpr int pitch = n * lanes;
    using Mask = typename V::Mask;
    using Row = V[n];
    using Weights = V[vectors];  // of a row's entries

    // Lanes that take their left or right neighbour into the box, and lanes that are pixels at all.
    struct Masks {
        Mask from_left[vectors], from_right[vectors], in_image[vectors];
    };

    // The vertical sum while it goes down a segment.
    struct Rolling {
        Row above[carried];      // row i − 1 after the horizontal sum
        Row two_above[carried];  // rows i − 2 and i − 1
    };

    using Totals = V[carried][stacks];

    // What a layer does beside the ReLU.
    enum class Role { first, inner, emitting, last };

    const Problem<float>& problem_;
    const Layout& layout_;
    const Operands<float>& operands_;
    float* const plane_;    // [carried][height][pitch]
    float* const discard_;  // [pitch], where the row above a segment's first one goes
    const int height_, width_;
    int di_ = 0, dj_ = 0;
    Masks masks_;
    float column_weight_[x_pitch];  // of the current dj

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
        const int count = 2 * problem_.emissions * sum_count * images;
        for (int k = 0; k < count; ++k) operands_.sums[k] = 0;
        for (int k = 0; k < 2 * near_count * images; ++k) operands_.near[k] = 0;
        const int rows = problem_.pooling ? height_ : 1, columns = problem_.pooling ? width_ : 1;
        for (int dj = 0; dj < columns; ++dj) {
            if (!within(dj, width_, problem_.reach_columns)) continue;
            dj_ = dj;
            set_masks();
            for (int di = 0; di < rows; ++di) {
                if (!within(di, height_, problem_.reach_rows)) continue;
                if (__atomic_load_n(problem_.cancelled, __ATOMIC_RELAXED)) return;
                di_ = di;
                run_plane();
            }
        }
    }

  private:
    // Whether a plane holds a displacement that counts: its own, or the one on the torus' other side.
    static bool within(int displacement, int size, int reach) {
        return displacement <= reach || size - displacement <= reach;
    }

    void set_masks() {
        for (int j = 0; weighted && j < x_pitch; ++j)
            column_weight_[j] = j < width_ ? weight(j, dj_, problem_.reach_columns, width_) : 0;
        for (int v = 0; v < vectors; ++v) {
            unsigned left = 0, right = 0, inside = 0;
            for (int l = 0; l < Rows::pixels; ++l) {
                const int j = v * Rows::pixels + l;
                if (j >= width_) continue;
                inside |= 1U << l;
                if (j > 0 && j != width_ - dj_) left |= 1U << l;
                if (j < width_ - 1 && j != width_ - dj_ - 1) right |= 1U << l;
            }
            masks_.from_left[v] = Rows::mask(left);
            masks_.from_right[v] = Rows::mask(right);
            masks_.in_image[v] = Rows::mask(inside);
        }
    }

    // How often windows hold position p of x and the one that it meets on the torus.
    float weight(int p, int displacement, int reach, int size) const {
        const int shift = p < size - displacement ? displacement : displacement - size;
        if (shift > reach || -shift > reach) return 0;
        return static_cast<float>(windows_with_both(p, shift, problem_.pooling_radius, size));
    }
    void row_weights(int i, Weights& weights) const {
        const V row = V::set(weight(i, di_, problem_.reach_rows, height_));
        for (int v = 0; v < vectors; ++v) weights[v] = row * Rows::load_x(column_weight_ + v * Rows::pixels);
    }

    void run_plane() {
        start();
        const int part = di_ == 0 && dj_ == 0 ? 0 : 1;
        double* sums = operands_.sums + part * problem_.emissions * sum_count * images;
        for (int h = 0; h < problem_.layers; ++h) {
            const int emission = problem_.layer[h].emission;
            double* out = emission < 0 ? nullptr : sums + emission * sum_count * images;
            if (h == 0)
                layer<Role::first>(h, out, operands_.near + part * near_count * images);
            else if (h == problem_.layers - 1)
                layer<Role::last>(h, out, nullptr);
            else if (out)
                layer<Role::emitting>(h, out, nullptr);
            else
                layer<Role::inner>(h, out, nullptr);
        }
    }

    float* plane(int field) const { return plane_ + field * height_ * pitch; }

    static EXACT_CNTK_INLINE void load_row(const float* from, Row& to) {
        for (int u = 0; u < n; ++u) to[u] = V::load(from + u * lanes);
    }
    static EXACT_CNTK_INLINE void store_row(float* to, const Row& from) {
        for (int u = 0; u < n; ++u) store(to + u * lanes, from[u]);
    }
    static EXACT_CNTK_INLINE void copy(const Row& from, Row& to) {
        for (int u = 0; u < n; ++u) to[u] = from[u];
    }
    static EXACT_CNTK_INLINE void clear(Rolling& rolling, int f) {
        for (int u = 0; u < n; ++u) rolling.above[f][u] = rolling.two_above[f][u] = V::set(0);
    }

    static EXACT_CNTK_INLINE void add_pixels(const Masks& masks, const Weights& weights, int u, V value,
                                             V (&total)[stacks]) {
        V& sum = total[u / vectors];
        sum = add_where(masks.in_image[u % vectors], sum, weighted ? weights[u % vectors] * value : value);
    }

    // Takes in one row of a field, and completes the row above it.
    static EXACT_CNTK_INLINE void box_row(const Masks& masks, const Row& row, Rolling& rolling, int f, float* above) {
        for (int u = 0; u < n; ++u) {
            const int v = u % vectors;
            V sum = add_left(row[u], row[v > 0 ? u - 1 : u], row[u], masks.from_left[v]);
            sum = add_right(sum, row[u], row[v < vectors - 1 ? u + 1 : u], masks.from_right[v]);
            store(above + u * lanes, rolling.two_above[f][u] + sum);
            rolling.two_above[f][u] = rolling.above[f][u] + sum;
            rolling.above[f][u] = sum;
        }
    }

    // Sigma⁰ = box(Σ_c x⊗x′), and Theta⁰.
    void start() {
        const int x_plane = height_ * x_pitch, y_plane = height_ * layout_.column_pitch;
        const int y_image = problem_.channels * y_plane;
        const int channels = problem_.channels, height = height_, seam = height - di_, y_pitch = layout_.column_pitch;
        const float* x = operands_.x_pixels;
        const float* const y_first = operands_.y_pixels + dj_;
        const float* y = y_first + di_ * y_pitch;
        float* here = plane(0);
        float* const discard = discard_;
        const Masks masks = masks_;
        Rolling rolling;
        clear(rolling, 0);
        for (int i = 0; i < height; ++i) {
            if (i == seam) y = y_first;
            Row product;
            for (V& sum : product) sum = V::set(0);
            for (int c = 0; c < channels; ++c)
                for (int u = 0; u < n; ++u) {
                    const int column = u % vectors * Rows::pixels, image = u / vectors * Rows::packed;
                    product[u] = fma(Rows::load_x(x + c * x_plane + column),
                                     Rows::load_y(y + image * y_image + c * y_plane + column, y_image), product[u]);
                }
            if (i == seam) {
                store_row(here - pitch, rolling.two_above[0]);
                clear(rolling, 0);
            }
            box_row(masks, product, rolling, 0, i == 0 || i == seam ? discard : here - pitch);
            x += x_pitch;
            y += y_pitch;
            here += pitch;
        }
        store_row(here - pitch, rolling.two_above[0]);
        const std::size_t bytes = sizeof(float) * height_ * pitch;
        for (int f = 1; f < carried; ++f) {
            // The last field starts at Sigma⁰ where it is the gap between the variants.
            if (fields == 2 ? f == 2 : problem_.theta_from_sigma)
                __builtin_memcpy(plane(f), plane(0), bytes);
            else
                __builtin_memset(plane(f), 0, bytes);
        }
    }

    // All rows of the plane through one layer. Whatever the loop needs is in local variables, see LayerVectors.
    template <Role role> void layer(int h, double* out, double* near) {
        constexpr bool has_negative = role == Role::first;
        const LayerVectors<V> constants(problem_.layer[h]);
        const Masks masks = masks_;
        const int height = height_, plane_size = height * pitch, seam = height - di_;
        const int y_pitch = layout_.column_pitch, y_image = problem_.layers * height * y_pitch;
        const float* x_norms = operands_.x_norms + h * height * x_pitch;
        const float* const y_first = operands_.y_norms + h * height * y_pitch + dj_;
        const float* y_norms = y_first + di_ * y_pitch;
        float* here = plane(0);
        float* const discard = discard_;
        float* above = discard;
        NearCounter<V, stacks> counter(problem_.layer[h]);
        Totals total;
        Rolling rolling;
        for (int f = 0; f < carried; ++f) {
            clear(rolling, f);
            for (V& sum : total[f]) sum = V::set(0);
        }
        ReluStart<V, n> started;
        Row k, k_dot;
        start_row<has_negative>(constants, here, x_norms, y_norms, y_image, started);
        finish_row<has_negative>(constants, started, here, k, k_dot, counter);
        x_norms += x_pitch;
        y_norms = seam == 1 ? y_first : y_norms + y_pitch;
        if (height > 1) start_row<has_negative>(constants, here + pitch, x_norms, y_norms, y_image, started);
        for (int i = 0; i < height; ++i) {
            if (role != Role::last && i == seam) {
                for (int f = 0; f < carried; ++f) {
                    store_row(here + f * plane_size - pitch, rolling.two_above[f]);
                    clear(rolling, f);
                }
                above = discard;
            }
            Row next_k = {}, next_k_dot = {};
            if (i + 1 < height) finish_row<has_negative>(constants, started, here + pitch, next_k, next_k_dot, counter);
            x_norms += x_pitch;
            y_norms = i + 2 == seam ? y_first : y_norms + y_pitch;
            if (i + 2 < height)
                start_row<has_negative>(constants, here + 2 * pitch, x_norms, y_norms, y_image, started);
            Weights weights;
            if (weighted && role != Role::inner) row_weights(i, weights);
            box_fields<role>(masks, weights, k, k_dot, here, plane_size, above, above == discard ? 0 : plane_size,
                             rolling, total);
            copy(next_k, k);
            copy(next_k_dot, k_dot);
            above = here;
            here += pitch;
        }
        if (role != Role::last)
            for (int f = 0; f < carried; ++f) store_row(above + f * plane_size, rolling.two_above[f]);
        if (out)
            for (int f = 0; f < carried; ++f)
                for (int s = 0; s < stacks; ++s) Rows::add_sums(total[f][s], out + f * images + s * Rows::packed);
        if (has_negative)
            for (int c = 0; c < near_count; ++c)
                for (int s = 0; s < stacks; ++s)
                    Rows::add_sums(counter.count[c][s], near + c * images + s * Rows::packed);
    }

    template <bool has_negative>
    static EXACT_CNTK_INLINE void start_row(const LayerVectors<V>& constants, const float* here, const float* x_norms,
                                            const float* y_norms, int y_image, ReluStart<V, n>& out) {
        Row sigma, norm_x, norm_y;
        load_row(here, sigma);
        for (int u = 0; u < n; ++u) {
            const int column = u % vectors * Rows::pixels, image = u / vectors * Rows::packed;
            norm_x[u] = Rows::load_x(x_norms + column);
            norm_y[u] = Rows::load_y(y_norms + image * y_image + column, y_image);
        }
        relu_start<has_negative>(constants, sigma, norm_x, norm_y, out);
    }

    template <bool has_negative>
    static EXACT_CNTK_INLINE void finish_row(const LayerVectors<V>& constants, const ReluStart<V, n>& started,
                                             const float* here, Row& k, Row& k_dot, NearCounter<V, stacks>& counter) {
        Row sigma, turn;
        load_row(here, sigma);
        relu_finish<has_negative>(constants, started, sigma, k, k_dot, turn);
        if (has_negative)
            for (int u = 0; u < n; ++u) counter.add(u / vectors, turn[u]);
    }

    // The box filter of all fields, and the sums that a requested depth needs.
    template <Role role>
    static EXACT_CNTK_INLINE void box_fields(const Masks& masks, const Weights& weights, const Row& k, const Row& k_dot,
                                             const float* here, int plane_size, float* above, int above_plane,
                                             Rolling& rolling, Totals& total) {
        if (role != Role::inner)
            for (int u = 0; u < n; ++u) add_pixels(masks, weights, u, k[u], total[0]);
        if (role != Role::last) box_row(masks, k, rolling, 0, above);
        for (int f = 1; f < carried; ++f) {
            Row field;
            load_row(here + f * plane_size, field);
            for (int u = 0; u < n; ++u) {
                if (role != Role::inner) add_pixels(masks, weights, u, k_dot[u] * field[u], total[f]);
                field[u] = f == 1 ? fma(k_dot[u], field[u], k[u]) : k_dot[u] * field[u];
            }
            if (role != Role::last) box_row(masks, field, rolling, f, above + f * above_plane);
        }
    }
};

template <class Rows, int fields, int vectors, int images, bool weighted>
void run_torus(const Problem<float>& problem, const Layout& layout, const Operands<float>& operands) {
    TorusKernel<Rows, fields, vectors, images, weighted>(problem, layout, operands).run();
}

template <class Rows, int fields, int vectors> Method<float> torus_method(const Problem<float>& problem) {
    // Rows of a single vector do not fill the pipeline: two stacks of them.
    constexpr int images = (vectors == 1 ? 2 : 1) * Rows::packed;
    const int pitch = vectors * Rows::pixels;
    // A row of x′ is read from any displacement on.
    const int column_pitch = problem.pooling ? (problem.width + pitch + 15) / 16 * 16 : pitch;
    return {{images, false, pitch, column_pitch},
            problem.pooling_radius < 0 ? run_torus<Rows, fields, vectors, images, false>
                                       : run_torus<Rows, fields, vectors, images, true>,
            TorusKernel<Rows, fields, vectors, images, false>::workspace(problem)};
}

template <class Rows, int vectors> Method<float> select_torus_fields(const Problem<float>& problem) {
    switch (problem.fields) {
        case Fields::sigma_only: return torus_method<Rows, 0, vectors>(problem);
        case Fields::theta: return torus_method<Rows, 1, vectors>(problem);
        default: return torus_method<Rows, 2, vectors>(problem);
    }
}

// For up to four vectors a row, of which at most three eighths may be padding; a null kernel for all else.
template <class V> Method<float> select_torus(const Problem<float>& problem) {
    const int vectors = (problem.width + V::lanes - 1) / V::lanes;
    if (problem.radius != 1 || problem.width * 8 < vectors * V::lanes * 5) return {};
    switch (vectors) {
        case 1: return select_torus_fields<WholeRows<V>, 1>(problem);
        case 2: return select_torus_fields<WholeRows<V>, 2>(problem);
        case 3: return select_torus_fields<WholeRows<V>, 3>(problem);
        case 4: return select_torus_fields<WholeRows<V>, 4>(problem);
        default: return {};
    }
}

}  // namespace
}  // namespace exact_cntk
