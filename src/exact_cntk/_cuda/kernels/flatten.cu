// Vectorised readout (CNTK-V) with 3×3 filters in float32: displacement (0, 0) alone, one plane a pair of images.
//
// A plane stays in the registers of some lanes from the first layer to the last, see plane.cuh; its only missing links
// are those at the border. A block takes a tile of TILE_ROWS × TILE_COLUMNS pairs, so that the tables of an image, read
// once into shared memory, serve a row or a column of the tile: on 32×32 pixels 16 warps with a pair each share the
// tables of 4 + 4 images, 2 bytes an entry and layer instead of 8. Those of the next layer are copied meanwhile.
#include "plane.cuh"

constexpr int block_warps = BLOCK_WARPS, block_threads = 32 * block_warps;
constexpr int tile_pairs = TILE_ROWS * TILE_COLUMNS, images = TILE_ROWS + TILE_COLUMNS;
static_assert(block_warps * planes_per_warp >= tile_pairs, "a plane for each pair");

// A table in shared memory; the distance between two keeps lanes of different pairs off each other's banks.
constexpr int plane_size = HEIGHT * WIDTH;
constexpr int pitch = planes_per_warp > 1 ? plane_size + WIDTH : plane_size;
constexpr int buffer_size = images * pitch;

// Tables are copied by chunks of 4 floats where those stay aligned.
constexpr int chunk = plane_size % 4 == 0 && pitch % 4 == 0 ? 4 : 1;
constexpr int chunks = images * (plane_size / chunk), copies = (chunks + block_threads - 1) / block_threads;

// A lane's links.
struct Place {
    Links<lane_rows, 0> rows;
    Links<lane_columns, 0> columns;
};

// The kernel's parameters.
struct Problem {
    const float *x_pixels, *x_norms, *y_pixels, *y_norms;
    int rows, columns, channels, layers;
};

__device__ __forceinline__ int at_most(int value, int limit) { return value < limit ? value : limit; }

// Starts copying the tables of step h of all images of a tile: channels have h < 0. Images beyond the last row or
// column repeat it.
__device__ __forceinline__ void copy_tables(const Problem& problem, int2 tile, int h, float* buffer) {
    const bool pixels = h < 0;
    const int tables = pixels ? problem.channels : problem.layers, table = pixels ? h + problem.channels : h;
    const float* const x = pixels ? problem.x_pixels : problem.x_norms;
    const float* const y = pixels ? problem.y_pixels : problem.y_norms;
#pragma unroll
    for (int c = 0; c < copies; ++c) {
        const int number = threadIdx.x + c * block_threads;
        if (chunks % block_threads != 0 && number >= chunks) break;
        const int image = number / (plane_size / chunk), at = number % (plane_size / chunk) * chunk;
        const bool is_x = image < TILE_ROWS;
        const long index =
            is_x ? at_most(tile.x + image, problem.rows - 1) : at_most(tile.y + image - TILE_ROWS, problem.columns - 1);
        const float* const from = (is_x ? x : y) + (index * tables + table) * plane_size + at;
        float* const to = buffer + image * pitch + at;
        if (chunk == 4)
            copy_async_16(to, from);
        else
            copy_async_4(to, from);
    }
    commit_copies();
}

// Writes the sums of a plane of the first layer and of the emitted ones. `pair` is -1 where there is none.
__device__ __forceinline__ void write_sums(const Lane& lane, const Totals& totals, int emission, bool rescaled,
                                           long pair, long pairs, double* sums) {
#pragma unroll
    for (int s = 0; s < carried; ++s) {
        const float sum = sum_plane(lane, totals.of[s]);
        if (!lane.leads || pair < 0) continue;
        sums[(emission * carried + s) * pairs + pair] = rescaled ? sum * double(RESCALE) : double(sum);
    }
}

__device__ __forceinline__ void write_near(const Lane& lane, const Totals& totals, long pair, long pairs, int* near) {
    const int both = sum_plane(lane, totals.near);
    if (!lane.leads || pair < 0) return;
    near[pair] = both & 0xffff;
    near[pairs + pair] = both >> 16;
}

extern "C" __global__ void __launch_bounds__(32 * BLOCK_WARPS, BLOCKS_PER_SM)
    cntk_pairs(const float* x_pixels, const float* x_norms, const float* y_pixels, const float* y_norms,
               const int2* tiles, int tile_count, int rows, int columns, int channels, int layers, const int* emission,
               const LayerConstants<float>*, float*, double* sums, int* near) {
    const Problem problem = {x_pixels, x_norms, y_pixels, y_norms, rows, columns, channels, layers};
    float* const buffers = dynamic_shared<float>();
    const Lane lane(threadIdx.x % 32);
    // Warps and lanes that no pair is left for repeat the first one's work, and do not write.
    const int number = threadIdx.x / 32 * planes_per_warp + lane.plane, of_tile = number < tile_pairs ? number : 0;
    const int tile_row = of_tile / TILE_COLUMNS, tile_column = of_tile % TILE_COLUMNS;
    Place place;
    place.rows.set(lane.down * lane_rows, HEIGHT, 0, 0);
    place.columns.set(lane.across * lane_columns, WIDTH, 0, 0);
    const int own = lane.down * lane_rows * WIDTH + lane.across * lane_columns;
    const int own_x = tile_row * pitch + own, own_y = (TILE_ROWS + tile_column) * pitch + own;
    const long pairs = static_cast<long>(rows) * columns;
    int parity = 0;
    for (int t = blockIdx.x; t < tile_count; t += gridDim.x) {
        const int2 tile = tiles[t];
        const int row = tile.x + tile_row, column = tile.y + tile_column;
        const bool present = number < tile_pairs && row < rows && column < columns;
        const long pair = present ? static_cast<long>(row) * columns + column : -1;
        Fields fields;
        clear(fields);
        copy_tables(problem, tile, -channels, buffers + parity);
#pragma unroll 1
        for (int h = -channels; h < layers; ++h) {
            const int depth = h < 0 ? -1 : emission[h];
            wait_copies<0>();
            __syncthreads();
            const float *const x = buffers + parity + own_x, *const y = buffers + parity + own_y;
            parity = buffer_size - parity;
            if (h + 1 < layers) copy_tables(problem, tile, h + 1, buffers + parity);
            Totals totals;
            if (h < 0) {
                add_channel(x, y, fields);
                if (h == -1) start(place, fields);
            } else if (h == 0) {
                totals = layer<Role::first>(place, x, y, fields);
                write_near(lane, totals, pair, pairs, near);
            } else if (h == layers - 1) {
                totals = layer<Role::last>(place, x, y, fields);
            } else if (depth >= 0) {
                totals = layer<Role::emitting>(place, x, y, fields);
            } else {
                layer<Role::inner>(place, x, y, fields);
            }
            if (depth >= 0) write_sums(lane, totals, depth, rescales(h), pair, pairs, sums);
            if (h >= 0 && rescales(h)) rescale(fields);
        }
    }
}
