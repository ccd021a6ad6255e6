// Pooling with 3×3 filters in float32: all displacement planes of a pair of images, packed into a torus.
//
// Planes. The planes of displacements (di, dj), (di − P, dj), (di, dj − Q) and (di − P, dj − Q) tile one P×Q array
// exactly: pixel (i, j) of x meets pixel ((i + di) mod P, (j + dj) mod Q) of x′. So P·Q arrays hold the whole tensor,
// and no lane is wasted. See plane.cuh for how an array lies in the lanes of a warp, where it stays from the first
// layer to the last.
//
// Places. An array has two missing links a direction: at its border, and at its seam, row P − di. The first lane begins
// at the one or the other, so that the other is never in the second half of a lane's links: the array is turned by
// `turn`, and no link leads around it. Lanes then read aligned vectors of x and of x′ if the tables' columns are turned
// as well, by what depends on the phase dj mod LANE_COLUMNS alone: all arrays at work in a team have the same phase,
// and copying a table to shared memory turns it. As to rows, a lane just starts to read elsewhere; the first rows of a
// table are repeated at its end.
//
// Work. A team of TEAM_WARPS warps takes one pair: a whole block, or for small images a warp, so that a tile of
// TILE_ROWS × TILE_COLUMNS pairs fills a block. Tables of two steps lie in shared memory: one in use, one on its way.
// Every leading lane adds up its planes in float64; in the end these sums are added in a fixed order.
//
// Registers are full with the fields (64 of 128 where a lane has 32 entries): whatever a thread needs once per layer
// waits in shared memory.
#include "plane.cuh"

constexpr int block_warps = BLOCK_WARPS, team_warps = TEAM_WARPS, teams = block_warps / team_warps;
constexpr int team_threads = 32 * team_warps;
static_assert(teams == TILE_ROWS * TILE_COLUMNS && (team_warps == 1 || teams == 1), "a barrier for a team");

// A table in shared memory, and how a team copies one: whole rows at a time.
constexpr int plane_size = HEIGHT * WIDTH;
constexpr int table_rows = HEIGHT + lane_rows - 1, table_size = table_rows * WIDTH;
constexpr __device__ int rows_at_once() {
    int rows = team_threads / WIDTH;
    while (HEIGHT % rows != 0) --rows;
    return rows;
}
constexpr int copied_rows = rows_at_once(), copies = (table_rows + copied_rows - 1) / copied_rows;
constexpr int copying_threads = copied_rows * WIDTH;
constexpr int buffer_size = 2 * table_size;  // x and x′

// Sums of a team: one slot for each of its leading lanes, and one for displacement (0, 0).
constexpr int slots = team_warps * planes_per_warp + 1, centre_slot = slots - 1;
// Planes with the same dj mod LANE_COLUMNS, and how often a team has to begin anew for them.
constexpr int planes_of_phase = HEIGHT * (WIDTH / lane_columns);
constexpr int team_planes = team_warps * planes_per_warp;
constexpr int rounds_of_phase = (planes_of_phase + team_planes - 1) / team_planes;

// A lane's plane, and where it reads the tables.
struct __align__(16) Place {
    Links<lane_rows, lane_rows / 2> rows;
    Links<lane_columns, lane_columns / 2> columns;
    int x, y;  // offsets in a buffer
};

// What a thread copies next, and what follows after the last channel.
struct __align__(16) Source {
    const float *x, *y, *x_norms, *y_norms;
};

// The kernel's parameters.
struct Problem {
    const float *x_pixels, *x_norms, *y_pixels, *y_norms;
    int rows, columns, channels, layers;
    double* sums;
    int* near;
};

// What a thread has in shared memory, with its team or alone. What comes first has constant addresses.
struct Memory {
    Lane* lane;
    Place* place;
    Source* source;
    int* slot;       // where the thread's plane is summed up, or -1
    float* buffers;  // [2][x, x′][table_size]
    int* near;       // [slots]{near_same, near_close}
    int* emission;   // [layers]
    int layers;

    __device__ __forceinline__ explicit Memory(int problem_layers) : layers(problem_layers) {
        const int team = threadIdx.x / team_threads;
        Lane* const lanes = dynamic_shared<Lane>();
        Place* const places = reinterpret_cast<Place*>(lanes + 32 * block_warps);
        Source* const sources = reinterpret_cast<Source*>(places + 32 * block_warps);
        float* const all_buffers = reinterpret_cast<float*>(sources + 32 * block_warps);
        int* const all_slots = reinterpret_cast<int*>(all_buffers + teams * 2 * buffer_size);
        int* const all_near = all_slots + 32 * block_warps;
        lane = lanes + threadIdx.x;
        place = places + threadIdx.x;
        source = sources + threadIdx.x;
        buffers = all_buffers + team * 2 * buffer_size;
        slot = all_slots + threadIdx.x;
        near = all_near + team * slots * 2;
        emission = all_near + teams * slots * 2;
    }
    __device__ __forceinline__ int emissions() const { return emission[layers - 1] + 1; }
    // [slots][emissions][carried]
    __device__ __forceinline__ double* sums() const {
        double* const all_sums = reinterpret_cast<double*>(emission + (layers + 1) / 2 * 2);
        return all_sums + threadIdx.x / team_threads * slots * emissions() * carried;
    }
};

__device__ __forceinline__ void team_barrier() {
    if (team_warps == 1)
        __syncwarp();
    else
        __syncthreads();
}

// How far an array is turned: not at all, or so that it begins with the seam.
__device__ __forceinline__ int turn(int displacement, int size, int lane_positions) {
    const int phase = (size - displacement) % lane_positions;
    return phase > lane_positions / 2 ? displacement : 0;
}

__device__ __forceinline__ void set_place(const Lane& lane, int di, int dj, Place& place) {
    const int row_turn = turn(di, HEIGHT, lane_rows), column_turn = turn(dj, WIDTH, lane_columns);
    const int row = lane.down * lane_rows, column = lane.across * lane_columns;
    place.rows.set(row, HEIGHT, row_turn, (HEIGHT - di + row_turn) % HEIGHT);
    place.columns.set(column, WIDTH, column_turn, (WIDTH - dj + column_turn) % WIDTH);
    // Whole vectors: the tables are turned by the rest.
    const int row_x = row + HEIGHT - row_turn, row_y = row_x + di;
    const int column_x = column + (WIDTH - column_turn) / lane_columns * lane_columns;
    const int column_y = column + (WIDTH - column_turn + dj) / lane_columns * lane_columns;
    place.x = row_x % HEIGHT * WIDTH + column_x % WIDTH;
    place.y = table_size + row_y % HEIGHT * WIDTH + column_y % WIDTH;
}

// The pair of images that a team takes in a tile, or if there is none, another one, so that all teams do the same.
struct Pair {
    long row, column;
    bool present;

    __device__ __forceinline__ Pair(const Problem& problem, const int2& tile) {
        const int team = threadIdx.x / team_threads;
        const int wanted_row = tile.x + team / TILE_COLUMNS, wanted_column = tile.y + team % TILE_COLUMNS;
        row = wanted_row < problem.rows ? wanted_row : problem.rows - 1;
        column = wanted_column < problem.columns ? wanted_column : problem.columns - 1;
        present = row == wanted_row && column == wanted_column;
    }
};

// Where a thread finds its part of the tables of a pair, whose columns are turned to the left.
__device__ __forceinline__ void set_source(const Problem& problem, const Pair& pair, int thread, int phase,
                                           Source& source) {
    const int x_turn = (lane_columns - turn(phase, WIDTH, lane_columns)) % lane_columns;
    const int y_turn = (phase + x_turn) % lane_columns;
    const int first = thread / WIDTH * WIDTH;
    const int x = first + (thread + x_turn) % WIDTH, y = first + (thread + y_turn) % WIDTH;
    source.x = problem.x_pixels + pair.row * problem.channels * plane_size + x;
    source.y = problem.y_pixels + pair.column * problem.channels * plane_size + y;
    source.x_norms = problem.x_norms + pair.row * problem.layers * plane_size + x;
    source.y_norms = problem.y_norms + pair.column * problem.layers * plane_size + y;
}

// Starts copying the tables of the next step. `is_first_layer`: it is the first one after the channels.
__device__ __forceinline__ void copy_tables(int thread, bool is_first_layer, Source& source, float* buffer) {
    const float* const x = is_first_layer ? source.x_norms : source.x;
    const float* const y = is_first_layer ? source.y_norms : source.y;
    if (copying_threads == team_threads || thread < copying_threads) {
#pragma unroll
        for (int c = 0; c < copies; ++c) {
            const int row = c * copied_rows, target = row * WIDTH, from = row % HEIGHT * WIDTH;
            if (row + copied_rows > table_rows && thread >= (table_rows - row) * WIDTH) break;
            copy_async_4(buffer + thread + target, x + from);
            copy_async_4(buffer + thread + table_size + target, y + from);
        }
    }
    source.x = x + plane_size;
    source.y = y + plane_size;
    commit_copies();
}

// Adds a plane's sums to its slot, or sets them for displacement (0, 0).
__device__ __forceinline__ void add_sums(const Memory& memory, int emission, bool rescaled, const Totals& totals) {
    const int slot = *memory.slot;
    const Lane lane = *memory.lane;
#pragma unroll
    for (int s = 0; s < carried; ++s) {
        const float sum = sum_plane(lane, totals.of[s]);
        if (!lane.leads || slot < 0) continue;
        double& into = memory.sums()[(slot * memory.emissions() + emission) * carried + s];
        const double value = rescaled ? sum * RESCALE : sum;
        into = slot == centre_slot ? value : into + value;
    }
}

__device__ __forceinline__ void add_near(const Memory& memory, const Totals& totals) {
    const Lane lane = *memory.lane;
    const int slot = *memory.slot, near = sum_plane(lane, totals.near);
    if (!lane.leads || slot < 0) return;
    int* const into = memory.near + 2 * slot;
    const bool centre = slot == centre_slot;
    into[0] = (centre ? 0 : into[0]) + (near & 0xffff);
    into[1] = (centre ? 0 : into[1]) + (near >> 16);
}

// One layer with what its depth asks for.
template <Role role>
__device__ __forceinline__ void run_role(const Memory& memory, int h, int emission, const float* buffer,
                                         Fields& fields) {
    const Place place = *memory.place;
    const Totals totals = layer<role>(place, buffer + place.x, buffer + place.y, fields);
    if (role == Role::first) add_near(memory, totals);
    if (role != Role::inner && emission >= 0) add_sums(memory, emission, rescales(h), totals);
}

__device__ __forceinline__ void run_layer(const Problem& problem, const Memory& memory, int h, const float* buffer,
                                          Fields& fields) {
    const int emission = memory.emission[h];
    if (h == 0)
        run_role<Role::first>(memory, h, emission, buffer, fields);
    else if (h == problem.layers - 1)
        run_role<Role::last>(memory, h, emission, buffer, fields);
    else if (emission >= 0)
        run_role<Role::emitting>(memory, h, emission, buffer, fields);
    else
        run_role<Role::inner>(memory, h, emission, buffer, fields);
    if (rescales(h)) rescale(fields);
}

// The planes that a team's warps hold, through all layers.
__device__ __forceinline__ void run_planes(const Problem& problem, const Memory& memory, int thread) {
    Fields fields;
    clear(fields);
    team_barrier();  // All have left the buffers.
    copy_tables(thread, false, *memory.source, memory.buffers);
#pragma unroll 1
    for (int h = -problem.channels; h < problem.layers; ++h) {
        const int parity = (h + problem.channels) % 2;
        wait_copies<0>();
        team_barrier();
        const float* const buffer = memory.buffers + parity * buffer_size;
        if (h + 1 < problem.layers)
            copy_tables(thread, h + 1 == 0, *memory.source, memory.buffers + (1 - parity) * buffer_size);
        if (h >= 0) {
            run_layer(problem, memory, h, buffer, fields);
        } else {
            const Place place = *memory.place;
            add_channel(buffer + place.x, buffer + place.y, fields);
            if (h == -1) start(place, fields);
        }
    }
}

// Writes a pair's sums: part 0 from the slot of displacement (0, 0), part 1 from the others.
__device__ __forceinline__ void write_sums(const Problem& problem, const Memory& memory, int thread, long pair) {
    const long pairs = static_cast<long>(problem.rows) * problem.columns;
    const int count = memory.emissions() * carried;
    const double* const from = memory.sums();
    for (int v = thread; v < count; v += team_threads) {
        double others = 0;
        for (int slot = 0; slot < centre_slot; ++slot) others += from[slot * count + v];
        problem.sums[v * pairs + pair] = from[centre_slot * count + v];
        problem.sums[(count + v) * pairs + pair] = others;
    }
    if (thread < 2) {
        int others = 0;
        for (int slot = 0; slot < centre_slot; ++slot) others += memory.near[2 * slot + thread];
        problem.near[thread * pairs + pair] = memory.near[2 * centre_slot + thread];
        problem.near[(2 + thread) * pairs + pair] = others;
    }
}

// Prepares a thread for its plane in a round: rounds of all phases, one after the other.
__device__ __forceinline__ void set_plane(const Problem& problem, const Memory& memory, int thread, const int2& tile,
                                          int round) {
    const Lane lane = *memory.lane;
    const int phase = round / rounds_of_phase, first = round % rounds_of_phase * team_planes;
    const int own_slot = thread / 32 * planes_per_warp + lane.plane, plane = first + own_slot;
    const int di = plane % HEIGHT, dj = phase + plane / HEIGHT % (WIDTH / lane_columns) * lane_columns;
    *memory.slot = plane >= planes_of_phase ? -1 : di == 0 && dj == 0 ? centre_slot : own_slot;
    set_place(lane, di, dj, *memory.place);
    set_source(problem, Pair(problem, tile), thread, phase, *memory.source);
}

// All planes of a tile's pairs, each team one pair.
__device__ __forceinline__ void run_tile(const Problem& problem, const Memory& memory, int thread, const int2& tile) {
    const int count = slots * memory.emissions() * carried;
    for (int v = thread; v < count; v += team_threads) memory.sums()[v] = 0;
    for (int v = thread; v < slots * 2; v += team_threads) memory.near[v] = 0;
#pragma unroll 1
    for (int round = 0; round < lane_columns * rounds_of_phase; ++round) {
        set_plane(problem, memory, thread, tile, round);
        run_planes(problem, memory, thread);
    }
    __syncthreads();
    const Pair pair(problem, tile);
    if (pair.present) write_sums(problem, memory, thread, pair.row * problem.columns + pair.column);
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(32 * BLOCK_WARPS, BLOCKS_PER_SM)
    cntk_pairs(const float* x_pixels, const float* x_norms, const float* y_pixels, const float* y_norms,
               const int2* tiles, int tile_count, int rows, int columns, int channels, int layers, const int* emission,
               const LayerConstants<float>*, float*, double* sums, int* near) {
    const Problem problem = {x_pixels, x_norms, y_pixels, y_norms, rows, columns, channels, layers, sums, near};
    const Memory memory(layers);
    for (int h = threadIdx.x; h < layers; h += 32 * block_warps) memory.emission[h] = emission[h];
    __syncthreads();
    *memory.lane = Lane(threadIdx.x % 32);
    for (int t = blockIdx.x; t < tile_count; t += gridDim.x)
        run_tile(problem, memory, teams == 1 ? threadIdx.x : threadIdx.x % team_threads, tiles[t]);
}
