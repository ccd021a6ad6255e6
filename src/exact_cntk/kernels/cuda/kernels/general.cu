// Every other problem: planes of any shape, any odd filter, any readout, float or double.
//
// A block takes a pair of images, one displacement plane at a time: (P − |di|)·(Q − |dj|) pairs of pixels, threads
// striding over them. Fields and one plane of scratch lie in shared memory if IN_SHARED, otherwise in the block's part
// of the workspace. Local average pooling needs few planes, and weighs their entries in the sums. The box filter runs
// along rows into the scratch, then down columns back. A thread adds up its own pixels; those of all threads are added
// in a fixed order, in float64.
#include "relu.cuh"

using Scalar = SCALAR;

constexpr int carried = 1 + FIELDS, radius = RADIUS, pixels = HEIGHT * WIDTH;
constexpr int block_threads = 32 * BLOCK_WARPS;
constexpr int scratch_planes = carried + 1;
constexpr bool weighted = POOLING_RADIUS >= 0;

// What a block works in.
struct Memory {
    double* sums;     // [parts][emissions][carried]
    double* partial;  // [carried + 1][block_threads]
    int* near;        // [parts]{near_same, near_close}
    Scalar* fields;   // [carried][pixels]
    Scalar* scratch;  // [pixels]
};

// Pixels a of [0, size) whose windows [a − POOLING_RADIUS, a + POOLING_RADIUS] hold both p and p + shift.
__device__ int windows_with_both(int p, int shift, int size) {
    const int low = shift < 0 ? p + shift : p, high = shift < 0 ? p : p + shift;
    const int first = high > POOLING_RADIUS ? high - POOLING_RADIUS : 0;
    const int last = size - 1 - low > POOLING_RADIUS ? low + POOLING_RADIUS : size - 1;
    return last < first ? 0 : last - first + 1;
}

// A displacement plane: pixel (i, j) of it is (x_row + i, x_column + j) of x, and displaced by (di, dj) in x′.
struct Plane {
    int height, width, x_first, y_first, part, di, dj;

    __device__ Plane(int di, int dj)
        : height(HEIGHT - (di < 0 ? -di : di)),
          width(WIDTH - (dj < 0 ? -dj : dj)),
          x_first((di < 0 ? -di : 0) * WIDTH + (dj < 0 ? -dj : 0)),
          y_first((di < 0 ? 0 : di) * WIDTH + (dj < 0 ? 0 : dj)),
          part(di == 0 && dj == 0 ? 0 : 1),
          di(di),
          dj(dj) {}
    __device__ int size() const { return height * width; }
    // Of pixel n within an image, from its first one.
    __device__ int offset(int n) const { return n / width * WIDTH + n % width; }
    // How often entry n counts in a sum.
    __device__ double weight(int n) const {
        return static_cast<double>(windows_with_both(n / width + (di < 0 ? -di : 0), di, HEIGHT)) *
               windows_with_both(n % width + (dj < 0 ? -dj : 0), dj, WIDTH);
    }
};

// The box filter, in place.
__device__ void box(const Plane& plane, Scalar* field, Scalar* scratch) {
    for (int n = threadIdx.x; n < plane.size(); n += block_threads) {
        const int j = n % plane.width;
        Scalar sum = 0;
        for (int b = -radius; b <= radius; ++b)
            if (j + b >= 0 && j + b < plane.width) sum += field[n + b];
        scratch[n] = sum;
    }
    __syncthreads();
    for (int n = threadIdx.x; n < plane.size(); n += block_threads) {
        const int i = n / plane.width;
        Scalar sum = 0;
        for (int a = -radius; a <= radius; ++a)
            if (i + a >= 0 && i + a < plane.height) sum += scratch[n + a * plane.width];
        field[n] = sum;
    }
    __syncthreads();
}

// Sigma⁰ = box(Σ_c x⊗x′), and Theta⁰.
__device__ void start(const Plane& plane, const Scalar* x, const Scalar* y, int channels, const Memory& memory) {
    for (int n = threadIdx.x; n < plane.size(); n += block_threads) {
        Scalar product = 0;
        for (int c = 0; c < channels; ++c)
            product = fused(x[c * pixels + plane.x_first + plane.offset(n)],
                            y[c * pixels + plane.y_first + plane.offset(n)], product);
        memory.fields[n] = product;
    }
    __syncthreads();
    box(plane, memory.fields, memory.scratch);
    for (int n = threadIdx.x; n < plane.size(); n += block_threads)
        for (int f = 1; f < carried; ++f)
            // The last field starts at Sigma⁰ where it is the gap between the variants.
            memory.fields[f * pixels + n] = (FIELDS == 2 ? f == 2 : THETA_FROM_SIGMA) ? memory.fields[n] : Scalar(0);
    __syncthreads();
}

// A thread's sums over its pixels, and its counts of the first layer: (angles below close_angle) · 2^32 + (angles 0).
struct Own {
    double of[carried];
    long long near;
};

// The ReLU of one layer, in place.
__device__ Own apply_relu(const Plane& plane, const LayerConstants<Scalar>& constants, const Scalar* x, const Scalar* y,
                          Scalar* fields) {
    Own own{};
    for (int n = threadIdx.x; n < plane.size(); n += block_threads) {
        const int offset = plane.offset(n);
        Scalar k, k_dot;
        const Scalar angle = relu(constants, fields[n], x[plane.x_first + offset], y[plane.y_first + offset], k, k_dot);
        own.near += (angle < Scalar(close_angle) ? 1LL << 32 : 0) + (angle == 0 ? 1 : 0);
        const double weight = weighted ? plane.weight(n) : 1;
        own.of[0] = weighted ? fused(weight, double(k), own.of[0]) : own.of[0] + k;
        fields[n] = k;
        for (int f = 1; f < carried; ++f) {
            Scalar& field = fields[f * pixels + n];
            own.of[f] = fused(weighted ? weight * k_dot : double(k_dot), double(field), own.of[f]);
            field = f == 1 ? fused(k_dot, field, k) : k_dot * field;
        }
    }
    return own;
}

// Adds the threads' values, which lie in `partial`, to the total.
template <class T> __device__ void add_partial(const T* partial, T& total) {
    T sum = 0;
    for (int t = 0; t < block_threads; ++t) sum += partial[t];
    total += sum;
}

// Counts stop at the largest int, which planes of more than 46,340 pixels could pass.
__device__ int add_count(int count, long long more) {
    const long long sum = count + more;
    return static_cast<int>(sum < 0x7fffffff ? sum : 0x7fffffff);
}

// Adds the sums of a layer to those of the block, one value per thread.
__device__ void add_sums(const Own& own, double* sums, bool counts, int* near, const Memory& memory) {
    for (int s = 0; s < carried; ++s) memory.partial[s * block_threads + threadIdx.x] = own.of[s];
    long long* const partial_near = reinterpret_cast<long long*>(memory.partial + carried * block_threads);
    partial_near[threadIdx.x] = own.near;
    __syncthreads();
    if (sums && threadIdx.x < carried) add_partial(memory.partial + threadIdx.x * block_threads, sums[threadIdx.x]);
    if (counts && threadIdx.x == carried) {
        long long both = 0;
        add_partial(partial_near, both);
        near[0] = add_count(near[0], both & 0xffffffff);
        near[1] = add_count(near[1], both >> 32);
    }
    __syncthreads();
}

// One displacement plane through all layers.
__device__ void run_plane(const Plane& plane, const Scalar* x_norms, const Scalar* y_norms, int layers,
                          const int* emission, const LayerConstants<Scalar>* constants, int emissions,
                          const Memory& memory) {
    for (int h = 0; h < layers; ++h) {
        const Own own = apply_relu(plane, constants[h], x_norms + h * pixels, y_norms + h * pixels, memory.fields);
        const int depth = emission[h];
        double* const sums = depth < 0 ? nullptr : memory.sums + (plane.part * emissions + depth) * carried;
        if (sums || h == 0) add_sums(own, sums, h == 0, memory.near + 2 * plane.part, memory);
        __syncthreads();
        if (h == layers - 1) break;
        for (int f = 0; f < carried; ++f) box(plane, memory.fields + f * pixels, memory.scratch);
    }
}

__device__ Memory block_memory(int parts, int emissions, Scalar* workspace) {
    Memory memory;
    memory.sums = dynamic_shared<double>();
    memory.partial = memory.sums + parts * emissions * carried;
    Scalar* const shared = reinterpret_cast<Scalar*>(memory.partial + (carried + 1) * block_threads);
    memory.fields = IN_SHARED ? shared : workspace + static_cast<long>(blockIdx.x) * scratch_planes * pixels;
    memory.scratch = memory.fields + carried * pixels;
    memory.near = reinterpret_cast<int*>(shared + (IN_SHARED ? scratch_planes * pixels : 0));
    return memory;
}

extern "C" __global__ void __launch_bounds__(32 * BLOCK_WARPS, BLOCKS_PER_SM)
    cntk_pairs(const Scalar* x_pixels, const Scalar* x_norms, const Scalar* y_pixels, const Scalar* y_norms,
               const int2* tiles, int tile_count, int rows, int columns, int channels, int layers, const int* emission,
               const LayerConstants<Scalar>* constants, Scalar* workspace, double* sums, int* near) {
    constexpr int parts = POOLING ? 2 : 1;
    const int emissions = emission[layers - 1] + 1, count = parts * emissions * carried;
    const Memory memory = block_memory(parts, emissions, workspace);
    const long pairs = static_cast<long>(rows) * columns;
    for (int t = blockIdx.x; t < tile_count; t += gridDim.x) {
        const long row = tiles[t].x, column = tiles[t].y;
        if (row >= rows || column >= columns) continue;
        for (int v = threadIdx.x; v < count; v += block_threads) memory.sums[v] = 0;
        for (int v = threadIdx.x; v < 2 * parts; v += block_threads) memory.near[v] = 0;
        __syncthreads();
        for (int di = -REACH_ROWS; di <= REACH_ROWS; ++di)
            for (int dj = -REACH_COLUMNS; dj <= REACH_COLUMNS; ++dj) {
                const Plane plane(di, dj);
                start(plane, x_pixels + row * channels * pixels, y_pixels + column * channels * pixels, channels,
                      memory);
                run_plane(plane, x_norms + row * layers * pixels, y_norms + column * layers * pixels, layers, emission,
                          constants, emissions, memory);
            }
        const long pair = row * columns + column;
        for (int v = threadIdx.x; v < count; v += block_threads) sums[v * pairs + pair] = memory.sums[v];
        for (int v = threadIdx.x; v < 2 * parts; v += block_threads) near[v * pairs + pair] = memory.near[v];
        __syncthreads();
    }
}
