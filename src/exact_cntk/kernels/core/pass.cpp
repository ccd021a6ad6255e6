#include "pass.hpp"

#include <algorithm>
#include <mutex>
#include <numeric>
#include <vector>

#include "images.hpp"
#include "isa.hpp"
#include "job.hpp"
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
        : request_(request), engine_(engine), job_(request), method_(select_method<T>(engine, job_.problem)) {}

    // All pairs: blocks of rows against blocks of columns; of each side, half the budget's worth of tables at a time.
    void run() {
        ImageBlock<T> rows = empty_block(Side::x), columns = empty_block(Side::y);
        const std::size_t half = static_cast<std::size_t>(request_.table_bytes) / 2;
        const long group = method_.layout.group;
        const long row_block = std::max<long>(half / rows.image_bytes(), 1);
        const long column_block = std::max<long>(half / columns.image_bytes() / group, 1) * group;
        for (long r = 0; r < job_.x1.count; r += row_block) {
            load(rows, job_.x1, range(r, std::min(row_block, job_.x1.count - r)));
            const long end = job_.symmetric ? std::min(r + row_block, job_.x1.count) : job_.x2.count;
            for (long c = 0; c < end; c += column_block) {
                load(columns, job_.x2, range(c, std::min(column_block, end - c)));
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
            ImageBlock<T> row = empty_block(Side::x), columns = empty_block(Side::y);
            std::vector<long> partners;
            for (std::size_t p = first; p < last; ++p) partners.push_back(pairs[p].j);
            row.reserve(job_.x1, {pairs[first].i});
            columns.reserve(job_.x2, partners);
            row.prepare(0);
            for (long k = 0; k < columns.size(); ++k) columns.prepare(k);
            Scratch scratch(*this);
            if (!call_kernel(row, 0, columns, 0, scratch)) return;
            for (long k = 0; k < columns.size(); ++k) finish_pair(row, 0, columns, k, scratch);
        });
    }

  private:
    // What one thread works in.
    struct Scratch {
        AlignedArray<T> workspace;
        std::vector<double> sums, near;
        explicit Scratch(const Pass& pass)
            : workspace(pass.method_.workspace),
              sums(2 * pass.job_.problem.emissions * sum_count * pass.method_.layout.group),
              near(2 * near_count * pass.method_.layout.group) {}
    };

    ImageBlock<T> empty_block(Side side) const { return ImageBlock<T>(job_.shape, job_.units, method_.layout, side); }

    void load(ImageBlock<T>& block, const ImageSource& source, std::vector<long> indices) {
        block.reserve(source, std::move(indices));
        run_team(request_.threads, block.size(), request_.cancelled, [&](long k) { block.prepare(k); });
    }

    // Stripes of rows; after each, its near-duplicates again in float64.
    void run_block(const ImageBlock<T>& rows, const ImageBlock<T>& columns) {
        const long stripe = std::max<long>(stripe_pairs / columns.size(), 1);
        for (long r = 0; r < rows.size() && !job_.cancelled(); r += stripe) {
            std::vector<Pair> near_pairs;
            run_stripe(rows, r, std::min(r + stripe, rows.size()), columns, near_pairs);
            if (!near_pairs.empty() && !job_.cancelled()) run_pairs_in_double(request_, engine_, std::move(near_pairs));
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
                    if (job_.symmetric && columns.index(g * group) > i) continue;
                    if (!call_kernel(rows, r, columns, g, scratch)) return;
                    long done = 0;
                    for (long c = g * group; c < (g + 1) * group && c < columns.size(); ++c, ++done) {
                        const long j = columns.index(c);
                        if (job_.symmetric && j > i) break;
                        if (!finish_pair(rows, r, columns, c, scratch)) near_here.push_back({i, j});
                    }
                    job_.add_done(done);
                }
            const std::lock_guard<std::mutex> lock(near_guard);
            near_pairs.insert(near_pairs.end(), near_here.begin(), near_here.end());
        });
    }

    std::vector<Tile> make_tiles(const ImageBlock<T>& rows, long first, long last, const ImageBlock<T>& columns) const {
        const long group = method_.layout.group;
        const double pair = job_.entries * job_.shape.layers;
        const long most_pairs = static_cast<long>(std::max(1.0, tile_element_layers / pair));
        const long fit = static_cast<long>(tile_row_bytes / rows.image_bytes());
        const long height = std::max(1L, std::min({fit, most_pairs, 32L}));
        const long width = std::max(1L, most_pairs / (height * group));
        std::vector<Tile> tiles;
        for (long r = first; r < last; r += height)
            for (long g = 0; g < columns.groups(); g += width) {
                const Tile tile = {r, std::min(r + height, last), g, std::min(g + width, columns.groups())};
                if (job_.symmetric && columns.index(tile.first_group * group) > rows.index(tile.last_row - 1)) break;
                tiles.push_back(tile);
            }
        return tiles;
    }

    // False if cancelled meanwhile.
    bool call_kernel(const ImageBlock<T>& rows, long r, const ImageBlock<T>& columns, long g, Scratch& scratch) const {
        const Operands<T> operands = {rows.pixels(r),     rows.norms(r),           columns.pixels(g),
                                      columns.norms(g),   scratch.workspace.get(), scratch.sums.data(),
                                      scratch.near.data()};
        method_.kernel(job_.problem, method_.layout, operands);
        return !job_.cancelled();
    }

    // Returns false if the pair should be taken again in float64.
    bool finish_pair(const ImageBlock<T>& rows, long r, const ImageBlock<T>& columns, long c, const Scratch& scratch) {
        const long group = method_.layout.group, lane = c % group;
        PairSums sums = {scratch.sums.data() + lane, group, 2, sum_count, {}};
        for (int k = 0; k < 2 * near_count; ++k)
            sums.near[k / near_count][k % near_count] = scratch.near[k * group + lane];
        return job_.finish_pair(rows.index(r), rows.facts(r), columns.index(c), columns.facts(c), sums);
    }

    const exact_cntk_request& request_;
    const Engine& engine_;
    const Job<T> job_;
    const Method<T> method_;
};

}  // namespace

void run_pass(const exact_cntk_request& request, const Engine& engine) {
    if (computes_in_double(request))
        Pass<double>(request, engine).run();
    else
        Pass<float>(request, engine).run();
}

void run_pairs_in_double(const exact_cntk_request& request, const Engine& engine, std::vector<Pair> pairs) {
    std::sort(pairs.begin(), pairs.end(),
              [](const Pair& a, const Pair& b) { return a.i < b.i || (a.i == b.i && a.j < b.j); });
    Pass<double>(request, engine).run_pairs(pairs);
}

}  // namespace exact_cntk
