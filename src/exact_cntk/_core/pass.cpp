#include "pass.hpp"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>
#include <vector>

#include "images.hpp"
#include "isa.hpp"
#include "team.hpp"

namespace exact_cntk {
namespace {

// The tables of a tile's rows stay in a core's second-level cache (1 MiB, often) while its columns pass by: flatten
// reads 8 bytes of tables an element-layer, and would wait for the third level.
constexpr std::size_t tile_row_bytes = 512 * 1024;
// A tile is also kept to this many element-layers, some 10 ms, so that threads end together and cancelling is prompt.
constexpr double tile_element_layers = 2e7;
// Pairs between two looks at which of them need float64: bounds the list of those.
constexpr long stripe_pairs = 1L << 21;
// A float32 pass cannot average its rounding over fewer pixels than this; float64 costs nothing there.
constexpr int fewest_float_pixels = 64;

// A pair of images by their indices among all rows and all columns.
struct Pair {
    long i, j;
};

// Rows and column groups [first, last) of the current blocks.
struct Tile {
    long first_row, last_row, first_group, last_group;
};

std::vector<long> range(long first, long count) {
    std::vector<long> indices(count);
    std::iota(indices.begin(), indices.end(), first);
    return indices;
}

template <class T> class Pass {
  public:
    Pass(const exact_cntk_request& request, const Engine& engine)
        : request_(request),
          engine_(engine),
          symmetric_(request.x2 == nullptr),
          shape_{request.height, request.width, request.channels, (request.filter_size - 1) / 2, deepest(request)},
          units_(choose_units(shape_)),
          emission_(request.outputs),
          x1_{request.x1, request.input_is_double != 0, request.n},
          x2_{symmetric_ ? request.x1 : request.x2, request.input_is_double != 0, symmetric_ ? request.n : request.m} {
        describe();
        method_ = select_method<T>(engine, problem_);
    }

    // All pairs: blocks of rows against blocks of columns; of each side, half the budget's worth of tables at a time.
    void run() {
        ImageBlock<T> rows(shape_, units_, method_.layout, Side::x), columns(shape_, units_, method_.layout, Side::y);
        const std::size_t half = static_cast<std::size_t>(request_.table_bytes) / 2;
        const long group = method_.layout.group;
        const long row_block = std::max<long>(half / rows.image_bytes(), 1);
        const long column_block = std::max<long>(half / columns.image_bytes() / group, 1) * group;
        for (long r = 0; r < x1_.count; r += row_block) {
            load(rows, x1_, range(r, std::min(row_block, x1_.count - r)));
            const long end = symmetric_ ? std::min(r + row_block, x1_.count) : x2_.count;
            for (long c = 0; c < end; c += column_block) {
                load(columns, x2_, range(c, std::min(column_block, end - c)));
                run_block(rows, columns);
            }
        }
    }

    // These pairs only, sorted by rows: for each row, groups of whatever columns it meets.
    void run_pairs(const std::vector<Pair>& pairs) {
        std::vector<std::size_t> starts;
        const std::size_t group = method_.layout.group;
        for (std::size_t p = 0; p < pairs.size(); ++p)
            if (p == 0 || pairs[p].i != pairs[p - 1].i || p - starts.back() == group) starts.push_back(p);
        run_team(request_.threads, static_cast<long>(starts.size()), request_.cancelled, [&](long s) {
            const std::size_t first = starts[s];
            const std::size_t last = s + 1 < static_cast<long>(starts.size()) ? starts[s + 1] : pairs.size();
            ImageBlock<T> row(shape_, units_, method_.layout, Side::x),
                columns(shape_, units_, method_.layout, Side::y);
            std::vector<long> partners;
            for (std::size_t p = first; p < last; ++p) partners.push_back(pairs[p].j);
            row.reserve(x1_, {pairs[first].i});
            columns.reserve(x2_, partners);
            row.prepare(0);
            for (long k = 0; k < columns.size(); ++k) columns.prepare(k);
            Scratch scratch(*this);
            if (!call_kernel(row, 0, columns, 0, scratch)) return;
            for (long k = 0; k < columns.size(); ++k) write_pair(row, 0, columns, k, scratch);
        });
    }

  private:
    // What one thread works in.
    struct Scratch {
        AlignedArray<T> workspace;
        std::vector<double> sums, near;
        explicit Scratch(const Pass& pass)
            : workspace(pass.method_.workspace),
              sums(2 * pass.problem_.emissions * sum_count * pass.method_.layout.group),
              near(2 * near_count * pass.method_.layout.group) {}
    };

    static int deepest(const exact_cntk_request& request) {
        return *std::max_element(request.output_layers, request.output_layers + request.outputs);
    }

    // Fills problem_, emission_ and layers_ from the request.
    void describe() {
        std::vector<int> of_layer(shape_.layers, -1);
        bool all = false, hidden = false;
        for (int o = 0; o < request_.outputs; ++o) {
            of_layer[request_.output_layers[o] - 1] = 0;
            all = all || request_.output_kind[o] == exact_cntk_ntk_all;
            hidden = hidden || request_.output_kind[o] == exact_cntk_ntk_hidden;
        }
        problem_.emissions = 0;
        for (int& layer : of_layer)
            if (layer == 0) layer = problem_.emissions++;
        for (int o = 0; o < request_.outputs; ++o) emission_[o] = of_layer[request_.output_layers[o] - 1];
        layers_ = layer_constants<T>(units_, of_layer);
        problem_.height = shape_.height;
        problem_.width = shape_.width;
        problem_.channels = shape_.channels;
        problem_.radius = shape_.radius;
        problem_.layers = shape_.layers;
        problem_.pooling = request_.pooling != 0;
        problem_.theta_from_sigma = all && !hidden;
        problem_.fields = all && hidden ? Fields::theta_and_gap : all || hidden ? Fields::theta : Fields::sigma_only;
        problem_.layer = layers_.data();
        problem_.cancelled = request_.cancelled;
    }

    bool cancelled() const { return __atomic_load_n(request_.cancelled, __ATOMIC_RELAXED) != 0; }

    void load(ImageBlock<T>& block, const ImageSource& source, std::vector<long> indices) {
        block.reserve(source, std::move(indices));
        run_team(request_.threads, block.size(), request_.cancelled, [&](long k) { block.prepare(k); });
    }

    // Stripes of rows; after each, its near-duplicates again in float64.
    void run_block(const ImageBlock<T>& rows, const ImageBlock<T>& columns) {
        const long stripe = std::max<long>(stripe_pairs / columns.size(), 1);
        for (long r = 0; r < rows.size() && !cancelled(); r += stripe) {
            std::vector<Pair> near_pairs;
            run_stripe(rows, r, std::min(r + stripe, rows.size()), columns, near_pairs);
            if (near_pairs.empty() || cancelled()) continue;
            std::sort(near_pairs.begin(), near_pairs.end(),
                      [](const Pair& a, const Pair& b) { return a.i < b.i || (a.i == b.i && a.j < b.j); });
            Pass<double>(request_, engine_).run_pairs(near_pairs);
        }
    }

    void run_stripe(const ImageBlock<T>& rows, long first, long last, const ImageBlock<T>& columns,
                    std::vector<Pair>& near_pairs) {
        const std::vector<Tile> tiles = make_tiles(rows, first, last, columns);
        std::mutex near_guard;
        run_team(request_.threads, static_cast<long>(tiles.size()), request_.cancelled, [&](long t) {
            const Tile& tile = tiles[t];
            const long group = method_.layout.group;
            Scratch scratch(*this);
            std::vector<Pair> near_here;
            for (long g = tile.first_group; g < tile.last_group; ++g)
                for (long r = tile.first_row; r < tile.last_row; ++r) {
                    const long i = rows.index(r);
                    if (symmetric_ && columns.index(g * group) > i) continue;
                    if (!call_kernel(rows, r, columns, g, scratch)) return;
                    long done = 0;
                    for (long c = g * group; c < (g + 1) * group && c < columns.size(); ++c, ++done) {
                        const long j = columns.index(c);
                        if (symmetric_ && j > i) break;
                        if (!write_pair(rows, r, columns, c, scratch)) near_here.push_back({i, j});
                    }
                    __atomic_fetch_add(request_.done, done, __ATOMIC_RELAXED);
                }
            const std::lock_guard<std::mutex> lock(near_guard);
            near_pairs.insert(near_pairs.end(), near_here.begin(), near_here.end());
        });
    }

    std::vector<Tile> make_tiles(const ImageBlock<T>& rows, long first, long last, const ImageBlock<T>& columns) const {
        const long group = method_.layout.group;
        const double pixels = shape_.pixels();
        const double pair = pixels * shape_.layers * (problem_.pooling ? pixels : 1);
        const long most_pairs = static_cast<long>(std::max(1.0, tile_element_layers / pair));
        const long fit = static_cast<long>(tile_row_bytes / rows.image_bytes());
        const long height = std::max(1L, std::min({fit, most_pairs, 32L}));
        const long width = std::max(1L, most_pairs / (height * group));
        std::vector<Tile> tiles;
        for (long r = first; r < last; r += height)
            for (long g = 0; g < columns.groups(); g += width) {
                const Tile tile = {r, std::min(r + height, last), g, std::min(g + width, columns.groups())};
                if (symmetric_ && columns.index(tile.first_group * group) > rows.index(tile.last_row - 1)) break;
                tiles.push_back(tile);
            }
        return tiles;
    }

    // False if cancelled meanwhile.
    bool call_kernel(const ImageBlock<T>& rows, long r, const ImageBlock<T>& columns, long g, Scratch& scratch) const {
        const Operands<T> operands = {rows.pixels(r),     rows.norms(r),           columns.pixels(g),
                                      columns.norms(g),   scratch.workspace.get(), scratch.sums.data(),
                                      scratch.near.data()};
        method_.kernel(problem_, method_.layout, operands);
        return !cancelled();
    }

    // Returns false if the pair should be taken again in float64.
    bool write_pair(const ImageBlock<T>& rows, long r, const ImageBlock<T>& columns, long c, const Scratch& scratch) {
        const bool black = rows.is_black(r) || columns.is_black(c);
        const bool same = !black && rows.same_image(r, columns, c);
        const std::vector<double> exact = same ? rows.diagonal_sums(r, problem_) : std::vector<double>();
        const long group = method_.layout.group, lane = c % group;
        const std::int64_t m = x2_.count;
        for (int o = 0; o < request_.outputs; ++o) {
            double total[sum_count];
            for (int s = 0; s < sum_count; ++s) {
                const int at = emission_[o] * sum_count + s;
                const double centre = same ? exact[at] : scratch.sums[at * group + lane];
                total[s] = centre + scratch.sums[(problem_.emissions * sum_count + at) * group + lane];
            }
            const double value = black ? 0 : in_units(o, total, rows.exponent(r) + columns.exponent(c));
            double* matrix = request_.out + o * request_.n * m;
            matrix[rows.index(r) * m + columns.index(c)] = value;
            if (symmetric_) matrix[columns.index(c) * m + rows.index(r)] = value;
        }
        return black || !rounding_matters(scratch.near.data() + lane, same);
    }

    // Whether rounding of 1 − rho shows in the result. An angle a comes out wrong by 1e-7/a, in units of which a
    // layer's K_dot and Theta go wrong too: harmless on average over the entries of a pooled kernel, unless most are
    // affected; with flatten, pixels are few. Where rho = 1 to rounding, the kernels set it to 1: right for flat
    // patches, of which images have many, but between near-duplicates nearly all pixels are like that and none is
    // exactly so.
    bool rounding_matters(const double* near, bool same) const {
        if (sizeof(T) == sizeof(double)) return false;
        const long group = method_.layout.group;
        const double* others = near + near_count * group;
        const double pixels = shape_.pixels();
        const double elsewhere = others[near_close * group] - others[near_same * group];
        double centre = near[near_close * group] - near[near_same * group];
        if (same)
            centre = 0;  // taken from the closed form
        else if (near[near_close * group] > pixels * 15 / 16)
            return true;
        if (!problem_.pooling) return centre > pixels / 128;
        return centre > pixels / 8 || centre + elsewhere > pixels * pixels / 8;
    }

    // One output from the sums of its depth.
    double in_units(int o, const double* total, int exponent) const {
        double value = 0;
        if (request_.output_kind[o] != exact_cntk_nngp) value += total[sum_theta];
        if (request_.output_kind[o] != exact_cntk_ntk_hidden) value += total[sum_k];
        if (request_.output_kind[o] == exact_cntk_ntk_all && problem_.fields == Fields::theta_and_gap)
            value += total[sum_gap];
        const double pixels = shape_.pixels();
        const double terms = problem_.pooling ? pixels * pixels : pixels;
        // Nothing but raised norms, see NormFloor: images that no filter sees together.
        if (std::abs(value) < NormFloor<T>::noise * terms * shape_.layers) return 0;
        value *= units_.unscale[request_.output_layers[o] - 1];
        return std::ldexp(problem_.pooling ? value / terms : value, exponent);
    }

    const exact_cntk_request& request_;
    const Engine& engine_;
    const bool symmetric_;
    const Shape shape_;
    const Units units_;
    std::vector<int> emission_;  // [outputs], index of the output's depth
    const ImageSource x1_, x2_;
    std::vector<Layer<T>> layers_;
    Problem<T> problem_{};
    Method<T> method_{};
};

}  // namespace

void run_pass(const exact_cntk_request& request, const Engine& engine) {
    if (request.compute_in_double || request.height * request.width < fewest_float_pixels)
        Pass<double>(request, engine).run();
    else
        Pass<float>(request, engine).run();
}

}  // namespace exact_cntk
