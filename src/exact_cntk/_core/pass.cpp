#include "pass.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "images.hpp"
#include "isa.hpp"
#include "team.hpp"

namespace exact_cntk {
namespace {

// Tables of the images of one tile, both sides, should stay in a core's second-level cache beside the planes.
constexpr std::size_t tile_bytes = 640 * 1024;
// A tile is also kept to this many element-layers, some 10 ms, so that threads end together and cancelling is prompt.
constexpr double tile_element_layers = 2e7;

// Rows or column groups [first, last) of the current blocks.
struct Tile {
    long first_row, last_row, first_group, last_group;
};

template <class T> class Pass {
  public:
    Pass(const exact_cntk_request& request, const Engine& engine)
        : request_(request),
          symmetric_(request.x2 == nullptr),
          shape_{request.height, request.width, request.channels, (request.filter_size - 1) / 2, deepest(request)},
          units_(choose_units(shape_)),
          emission_(request.outputs) {
        describe();
        method_ = select_method<T>(engine, problem_);
    }

    // Blocks of rows against blocks of columns: of each side, half the budget's worth of tables at a time.
    void run() {
        ImageBlock<T> rows(shape_, units_, method_.layout, Side::x), columns(shape_, units_, method_.layout, Side::y);
        const std::size_t half = static_cast<std::size_t>(request_.table_bytes) / 2;
        const long group = method_.layout.group;
        const long row_block = std::max<long>(half / rows.image_bytes(), 1);
        const long column_block = std::max<long>(half / columns.image_bytes() / group, 1) * group;
        const ImageSource x1 = {request_.x1, request_.input_is_double != 0, request_.n};
        const ImageSource x2 = symmetric_ ? x1 : ImageSource{request_.x2, x1.is_double, request_.m};
        for (long r = 0; r < x1.count; r += row_block) {
            load(rows, x1, r, std::min(row_block, x1.count - r));
            const long end = symmetric_ ? std::min(r + row_block, x1.count) : x2.count;
            for (long c = 0; c < end; c += column_block) {
                const long count = std::min(column_block, end - c);
                load(columns, x2, c, count);
                run_block(rows, r, std::min(row_block, x1.count - r), columns, c, count);
            }
        }
    }

  private:
    static int deepest(const exact_cntk_request& request) {
        return *std::max_element(request.output_layers, request.output_layers + request.outputs);
    }

    // Fills problem_ and emission_ from the request.
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

    void load(ImageBlock<T>& block, const ImageSource& source, long first, long count) {
        block.reserve(source, first, count);
        run_team(request_.threads, count, request_.cancelled, [&](long k) { block.prepare(k); });
    }

    void run_block(const ImageBlock<T>& rows, long row0, long row_count, const ImageBlock<T>& columns, long column0,
                   long column_count) {
        const std::vector<Tile> tiles = make_tiles(rows, row0, row_count, columns, column0);
        run_team(request_.threads, static_cast<long>(tiles.size()), request_.cancelled, [&](long t) {
            const Tile& tile = tiles[t];
            const int group = method_.layout.group;
            AlignedArray<T> workspace(method_.workspace);
            std::vector<double> sums(2 * problem_.emissions * sum_count * group);
            for (long r = tile.first_row; r < tile.last_row; ++r)
                for (long g = tile.first_group; g < tile.last_group; ++g) {
                    const long first = g * group;
                    if (symmetric_ && column0 + first > row0 + r) break;
                    const Operands<T> operands = {rows.pixels(r),    rows.norms(r),   columns.pixels(g),
                                                  columns.norms(g), workspace.get(), sums.data()};
                    method_.kernel(problem_, method_.layout, operands);
                    if (__atomic_load_n(request_.cancelled, __ATOMIC_RELAXED)) return;
                    long pairs = 0;
                    for (long l = 0; l < group && first + l < column_count; ++l) {
                        const long i = row0 + r, j = column0 + first + l;
                        if (symmetric_ && j > i) break;
                        write_pair(rows, r, columns, first + l, i, j, sums.data() + l);
                        ++pairs;
                    }
                    __atomic_fetch_add(request_.done, pairs, __ATOMIC_RELAXED);
                }
        });
    }

    std::vector<Tile> make_tiles(const ImageBlock<T>& rows, long row0, long row_count, const ImageBlock<T>& columns,
                                 long column0) const {
        const long group = method_.layout.group;
        const double pixels = shape_.pixels();
        const double pair = pixels * shape_.layers * (problem_.pooling ? pixels : 1);
        const long most_pairs = static_cast<long>(std::max(1.0, tile_element_layers / pair));
        const long fit = static_cast<long>(tile_bytes / (rows.image_bytes() + columns.image_bytes()));
        const long height = std::max<long>(1, std::min<long>(fit, static_cast<long>(std::sqrt(most_pairs))));
        const long width = std::max<long>(1, height / group);
        std::vector<Tile> tiles;
        for (long r = 0; r < row_count; r += height)
            for (long g = 0; g < columns.groups(); g += width) {
                const Tile tile = {r, std::min(r + height, row_count), g, std::min(g + width, columns.groups())};
                if (symmetric_ && column0 + tile.first_group * group > row0 + tile.last_row - 1) break;
                tiles.push_back(tile);
            }
        return tiles;
    }

    // `sums` is [2][emissions][sum_count][group] of this pair's lane.
    void write_pair(const ImageBlock<T>& rows, long r, const ImageBlock<T>& columns, long c, long i, long j,
                    const double* sums) {
        const bool black = rows.is_black(r) || columns.is_black(c);
        const bool same = !black && rows.same_image(r, columns, c);
        const std::vector<double> exact = same ? rows.diagonal_sums(r, problem_) : std::vector<double>();
        const int group = method_.layout.group;
        const std::int64_t m = symmetric_ ? request_.n : request_.m;
        for (int o = 0; o < request_.outputs; ++o) {
            double total[sum_count];
            for (int s = 0; s < sum_count; ++s) {
                const int at = emission_[o] * sum_count + s;
                const double centre = same ? exact[at] : sums[at * group];
                total[s] = centre + sums[(problem_.emissions * sum_count + at) * group];
            }
            const double value = black ? 0 : in_units(o, total, rows.exponent(r) + columns.exponent(c));
            double* matrix = request_.out + o * request_.n * m;
            matrix[i * m + j] = value;
            if (symmetric_) matrix[j * m + i] = value;
        }
    }

    // One output from the sums of its depth.
    double in_units(int o, const double* total, int exponent) const {
        double value = 0;
        if (request_.output_kind[o] != exact_cntk_nngp) value += total[sum_theta];
        if (request_.output_kind[o] != exact_cntk_ntk_hidden) value += total[sum_k];
        if (request_.output_kind[o] == exact_cntk_ntk_all && problem_.fields == Fields::theta_and_gap)
            value += total[sum_gap];
        const double pixels = shape_.pixels();
        value *= units_.unscale[request_.output_layers[o] - 1];
        return std::ldexp(problem_.pooling ? value / (pixels * pixels) : value, exponent);
    }

    const exact_cntk_request& request_;
    const bool symmetric_;
    const Shape shape_;
    const Units units_;
    std::vector<int> emission_;  // [outputs], index of the output's depth
    std::vector<Layer<T>> layers_;
    Problem<T> problem_{};
    Method<T> method_{};
};

}  // namespace

template <class T> void run_pass(const exact_cntk_request& request, const Engine& engine) {
    Pass<T>(request, engine).run();
}

template void run_pass<float>(const exact_cntk_request&, const Engine&);
template void run_pass<double>(const exact_cntk_request&, const Engine&);

}  // namespace exact_cntk
