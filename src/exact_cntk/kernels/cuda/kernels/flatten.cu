// Vectorised readout (CNTK-V) with 3×3 filters in float32: displacement (0, 0) alone, one plane per pair of images.
//
// A plane stays in the registers of some lanes from the first layer to the last, see plane.cuh; its only missing links
// are those at the border. A block takes a tile of TILE_ROWS × TILE_COLUMNS pairs, so that the tables of an image, read
// once into shared memory, serve a row or a column of the tile: on 32×32 pixels 16 warps with a pair each share the
// tables of 4 + 4 images, 2 bytes per entry and layer instead of 8. Those of the next layer are copied meanwhile; where
// each thread copies from waits in shared memory, for registers are full with the fields.
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

// What a thread copies next.
struct __align__(16) Source {
    const float* chunk[(copies + 1) / 2 * 2];
};

// A lane's links.
struct Place {
    Links<lane_rows, 0> rows;
    Links<lane_columns, 0> columns;
};

// The kernel's parameters.
struct Problem {
    const float *x_pixels, *x_norms, *y_pixels, *y_norms;
    int rows, columns, channels, layers;
    double* sums;
    int* near;
};

__device__ __forceinline__ int at_most(int value, int limit) { return value < limit ? value : limit; }

// Points a thread to its chunks of a tile's first tables: of channels, or else of norms. Images beyond the last row or
// column repeat it.
__device__ __forceinline__ void set_source(const Problem& problem, int2 tile, bool pixels, Source& source) {
    const int tables = pixels ? problem.channels : problem.layers;
    const float* const x = pixels ? problem.x_pixels : problem.x_norms;
    const float* const y = pixels ? problem.y_pixels : problem.y_norms;
#pragma unroll
    for (int c = 0; c < copies; ++c) {
        const int number = threadIdx.x + c * block_threads;
        const int image = number / (plane_size / chunk), at = number % (plane_size / chunk) * chunk;
        const bool is_x = image < TILE_ROWS;
        const long index =
            is_x ? at_most(tile.x + image, problem.rows - 1) : at_most(tile.y + image - TILE_ROWS, problem.columns - 1);
        source.chunk[c] = (is_x ? x : y) + index * tables * plane_size + at;
    }
}

// Starts copying the next table of every image.
__device__ __forceinline__ void copy_tables(Source& source, float* buffer) {
#pragma unroll
    for (int c = 0; c < copies; ++c) {
        const int number = threadIdx.x + c * block_threads;
        if (chunks % block_threads != 0 && number >= chunks) break;
        const int image = number / (plane_size / chunk), at = number % (plane_size / chunk) * chunk;
        const float* const from = source.chunk[c];
        float* const to = buffer + image * pitch + at;
        if (chunk == 4)
            copy_async_16(to, from);
        else
            copy_async_4(to, from);
        source.chunk[c] = from + plane_size;
    }
    commit_copies();
}

// Which pair of a tile a lane's plane belongs to. Warps and lanes that no pair is left for repeat the first one's work.
struct Member {
    int row, column;
    bool used;

    __device__ __forceinline__ explicit Member(const Lane& lane) {
        const int number = threadIdx.x / 32 * planes_per_warp + lane.plane;
        used = number < tile_pairs;
        row = used ? number / TILE_COLUMNS : 0;
        column = used ? number % TILE_COLUMNS : 0;
    }
};

// Writes what an emitted layer has summed up, or the first one counted.
__device__ __forceinline__ void write(const Problem& problem, const Lane& lane, int2 tile, int h, int emission,
                                      const Totals& totals) {
    const Member member(lane);
    const long row = tile.x + member.row, column = tile.y + member.column;
    const long pairs = static_cast<long>(problem.rows) * problem.columns, pair = row * problem.columns + column;
    const bool writes = lane.leads && member.used && row < problem.rows && column < problem.columns;
#pragma unroll
    for (int s = 0; s < carried; ++s) {
        const float sum = sum_plane(lane, totals.of[s]);
        if (!writes || emission < 0) continue;
        problem.sums[(emission * carried + s) * pairs + pair] = rescales(h) ? sum * RESCALE : sum;
    }
    if (h > 0) return;
    const int near = sum_plane(lane, totals.near);
    if (!writes) return;
    problem.near[pair] = near & 0xffff;
    problem.near[pairs + pair] = near >> 16;
}

// A tile's pairs through all layers. `parity` is the offset of the buffer to be filled next.
__device__ __forceinline__ void run_tile(const Problem& problem, const Lane& lane, const Place& place, const int2* tile,
                                         const int* emissions, Source& source, float* buffers, int& parity) {
    const Member member(lane);
    const int own = lane.down * lane_rows * WIDTH + lane.across * lane_columns;
    const int own_x = member.row * pitch + own, own_y = (TILE_ROWS + member.column) * pitch + own;
    Fields fields;
    clear(fields);
    set_source(problem, *tile, true, source);
    copy_tables(source, buffers + parity);
#pragma unroll 1
    for (int h = -problem.channels; h < problem.layers; ++h) {
        const int emission = h < 0 ? -1 : emissions[h];
        wait_copies<0>();
        __syncthreads();
        const float *const x = buffers + parity + own_x, *const y = buffers + parity + own_y;
        parity = buffer_size - parity;
        if (h == -1) set_source(problem, *tile, false, source);
        if (h + 1 < problem.layers) copy_tables(source, buffers + parity);
        if (h < 0) {
            add_channel(x, y, fields);
            if (h == -1) start(place, fields);
            continue;
        }
        Totals totals;
        if (h == 0)
            totals = layer<Role::first>(place, x, y, fields);
        else if (h == problem.layers - 1)
            totals = layer<Role::last>(place, x, y, fields);
        else if (emission >= 0)
            totals = layer<Role::emitting>(place, x, y, fields);
        else
            layer<Role::inner>(place, x, y, fields);
        if (h == 0 || emission >= 0) write(problem, lane, *tile, h, emission, totals);
        if (rescales(h)) rescale(fields);
    }
}

extern "C" __global__ void __launch_bounds__(32 * BLOCK_WARPS, BLOCKS_PER_SM)
    cntk_pairs(const float* x_pixels, const float* x_norms, const float* y_pixels, const float* y_norms,
               const int2* tiles, int tile_count, int rows, int columns, int channels, int layers, const int* emission,
               const LayerConstants<float>*, float*, double* sums, int* near) {
    const Problem problem = {x_pixels, x_norms, y_pixels, y_norms, rows, columns, channels, layers, sums, near};
    Source* const sources = dynamic_shared<Source>();
    float* const buffers = reinterpret_cast<float*>(sources + block_threads);
    const Lane lane(threadIdx.x % 32);
    Place place;
    place.rows.set(lane.down * lane_rows, HEIGHT, 0, 0);
    place.columns.set(lane.across * lane_columns, WIDTH, 0, 0);
    int parity = 0;
    for (int t = blockIdx.x; t < tile_count; t += gridDim.x)
        run_tile(problem, lane, place, tiles + t, emission, sources[threadIdx.x], buffers, parity);
}
