// A plane of covariances in the registers of some lanes of a warp, and one layer of the recursion on it.
//
// A plane has HEIGHT × WIDTH pairs of pixels. Each of its lanes holds a rectangle of LANE_ROWS × LANE_COLUMNS of them
// for every field (Sigma, Theta, gap); rectangles lie in reading order, lanes_across to a row, and a warp holds as many
// whole planes as fit. On 32×32 pixels a lane has 8 rows of 4 columns, a warp one plane, and Sigma and Theta take 64
// registers. Neighbours in a lane cost no shuffle: 4×8 rectangles need 0.75 shuffles per entry and field.
//
// The box filter does not cross the plane's borders, nor the seams between the four displacement planes that make a
// torus (see torus.cu). Both are missing links between neighbours: factors 0 or 1, at no cost in an fma. Rectangles are
// placed so that, within a lane, only the first half of its links can be missing. Where a link is certain, two
// neighbours share their sum: three additions for two outputs of a direction instead of four.
#pragma once

#include "relu.cuh"

constexpr int lane_rows = LANE_ROWS, lane_columns = LANE_COLUMNS;
constexpr int lanes_across = WIDTH / lane_columns, lanes_down = HEIGHT / lane_rows;
constexpr int planes_per_warp = 32 / (lanes_across * lanes_down);
constexpr int carried = 1 + FIELDS;
constexpr unsigned full_warp = 0xffffffffu;
static_assert(WIDTH % LANE_COLUMNS == 0 && HEIGHT % LANE_ROWS == 0 && planes_per_warp > 0, "lanes fill the plane");
static_assert(RADIUS == 1, "each pixel has one neighbour to a side");

// A rectangle of every field. Loops over it are unrolled: an index that is not a constant would move it to memory.
using Fields = float[carried][lane_rows][lane_columns];

// Which rectangle of which plane of its warp a lane has. Planes lie next to each other, and rows of rectangles
// follow: lanes that read shared memory together then read different banks.
struct __align__(16) Lane {
    int across, down, plane;
    bool leads;  // holds its plane's first rectangle, and receives its sums

    __device__ __forceinline__ explicit Lane(int lane) {
        // Lanes that are left over repeat what lane 0 reads, and are not listened to.
        const bool used = lane < lanes_across * lanes_down * planes_per_warp;
        const int at = used ? lane : 0;
        across = at % lanes_across;
        plane = at / lanes_across % planes_per_warp;
        down = at / (lanes_across * planes_per_warp);
        leads = used && across == 0 && down == 0;
    }
};

// A neighbouring lane's value; beyond the plane's edge, some number, for the link is missing there.
__device__ __forceinline__ float from_left(float value) {
    return lanes_across > 1 ? __shfl_up_sync(full_warp, value, 1) : value;
}
__device__ __forceinline__ float from_right(float value) {
    return lanes_across > 1 ? __shfl_down_sync(full_warp, value, 1) : value;
}
__device__ __forceinline__ float from_above(float value) {
    return lanes_down > 1 ? __shfl_up_sync(full_warp, value, lanes_across * planes_per_warp) : value;
}
__device__ __forceinline__ float from_below(float value) {
    return lanes_down > 1 ? __shfl_down_sync(full_warp, value, lanes_across * planes_per_warp) : value;
}

// Links of a lane's rectangle along one direction. Link k is the one between positions k − 1 and k, the first and the
// last being those to the lanes around it. Links after `last_doubtful` are certain, but for the last one.
template <int count, int last_doubtful> struct Links {
    float doubtful[last_doubtful + 2];

    // `first` is the lane's first position on the torus, of `size`; no link enters the positions `border` and `seam`.
    __device__ __forceinline__ void set(int first, int size, int border, int seam) {
#pragma unroll
        for (int d = 0; d < last_doubtful + 2; ++d) {
            const int position = (first + (d <= last_doubtful ? d : count)) % size;
            doubtful[d] = position != border && position != seam ? 1.0f : 0.0f;
        }
    }
    // Whether positions k and k + 1 share their sum: pairs are taken from the first certain link on.
    static constexpr __device__ bool starts_pair(int k) {
        return k >= last_doubtful && (k - last_doubtful) % 2 == 0 && k + 1 < count;
    }
    static constexpr __device__ bool ends_pair(int k) { return k > 0 && starts_pair(k - 1); }

    // a + link·b
    __device__ __forceinline__ float add(int k, float a, float b) const {
        if (k > last_doubtful && k < count) return a + b;
        return fmaf(doubtful[k < count ? k : last_doubtful + 1], b, a);
    }
};

// The box filter's sum along a row.
template <class Columns>
__device__ __forceinline__ void box_row(const Columns& links, float (&row)[lane_columns]) {
    const float left = from_left(row[lane_columns - 1]), right = from_right(row[0]);
    float sum[lane_columns];
#pragma unroll
    for (int j = 0; j < lane_columns; ++j) {
        const float before = j > 0 ? row[j > 0 ? j - 1 : 0] : left;
        const float after = j < lane_columns - 1 ? row[j < lane_columns - 1 ? j + 1 : j] : right;
        if (Columns::starts_pair(j))
            sum[j] = links.add(j, row[j] + after, before);
        else if (Columns::ends_pair(j))
            sum[j] = links.add(j + 1, before + row[j], after);
        else
            sum[j] = links.add(j + 1, links.add(j, row[j], before), after);
    }
#pragma unroll
    for (int j = 0; j < lane_columns; ++j) row[j] = sum[j];
}

// The box filter's sum down the columns of one field, row by row, in place: row i − 1 of the result is stored when row
// i comes in.
template <class Rows> struct Column {
    float partial[lane_columns];   // sum of the previous row and the one above it
    float previous[lane_columns];  // the previous row
    float below[lane_columns];     // the first row of the lane below

    __device__ __forceinline__ void take(const Rows& links, int i, const float (&row)[lane_columns],
                                         float (&field)[lane_rows][lane_columns]) {
#pragma unroll
        for (int j = 0; j < lane_columns; ++j) {
            if (i == 0) {
                below[j] = from_below(row[j]);
                partial[j] = row[j];
            } else if (Rows::ends_pair(i)) {
                // `partial` still is the row above the pair's.
                const float pair = previous[j] + row[j];
                field[i - 1][j] = i > 1 ? links.add(i - 1, pair, partial[j]) : pair;
                partial[j] = pair;
            } else {
                field[i - 1][j] = links.add(i, partial[j], row[j]);
                partial[j] = Rows::starts_pair(i) ? previous[j] : links.add(i, row[j], previous[j]);
            }
            previous[j] = row[j];
        }
    }

    __device__ __forceinline__ void finish(const Rows& links, float (&field)[lane_rows][lane_columns]) const {
#pragma unroll
        for (int j = 0; j < lane_columns; ++j) {
            const float above = from_above(previous[j]);
            field[lane_rows - 1][j] = links.add(lane_rows, partial[j], below[j]);
            field[0][j] = links.add(0, field[0][j], above);
        }
    }
};

// A lane's neighbouring entries of a table in shared memory.
__device__ __forceinline__ void load_row(const float* from, float (&to)[4]) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
}
__device__ __forceinline__ void load_row(const float* from, float (&to)[2]) {
    const float2 two = *reinterpret_cast<const float2*>(from);
    to[0] = two.x, to[1] = two.y;
}

// What a layer does besides the ReLU: all but the last filter, all but inner layers sum up, the first one has negative
// Sigma and counts how near they are to rho = ±1.
enum class Role { first, inner, emitting, last };

// A plane's sums, in its leading lane: of K and of K_dot times each further field.
struct Totals {
    float of[carried];
    int near;  // in the first layer: (angles below close_angle) · 2^16 + (angles 0)
};

// One layer, in place. `place` has the lane's links; x and y point to its first norms, in tables of WIDTH to a row.
template <Role role, class Place>
__device__ __forceinline__ Totals layer(const Place& place, const float* x, const float* y, Fields& fields) {
    constexpr int filtered = role == Role::last ? 0 : carried;
    Totals totals{};
    Column<decltype(Place::rows)> column[carried];
#pragma unroll
    for (int i = 0; i < lane_rows; ++i) {
        float norm_x[lane_columns], norm_y[lane_columns], row[carried][lane_columns];
        load_row(x + i * WIDTH, norm_x);
        load_row(y + i * WIDTH, norm_y);
#pragma unroll
        for (int j = 0; j < lane_columns; ++j) {
            float k, k_dot;
            const float angle = relu<role == Role::first>(fields[0][i][j], norm_x[j], norm_y[j], k, k_dot);
            if (role == Role::first) totals.near += (angle < float(close_angle) ? 1 << 16 : 0) + (angle == 0 ? 1 : 0);
            if (role != Role::inner) totals.of[0] += k;
            row[0][j] = k;
#pragma unroll
            for (int f = 1; f < carried; ++f) {
                if (role != Role::inner) totals.of[f] = fmaf(k_dot, fields[f][i][j], totals.of[f]);
                row[f][j] = f == 1 ? fmaf(k_dot, fields[f][i][j], k) : k_dot * fields[f][i][j];
            }
        }
#pragma unroll
        for (int f = 0; f < filtered; ++f) {
            box_row(place.columns, row[f]);
            column[f].take(place.rows, i, row[f], fields[f]);
        }
    }
#pragma unroll
    for (int f = 0; f < filtered; ++f) column[f].finish(place.rows, fields[f]);
    return totals;
}

__device__ __forceinline__ void clear(Fields& fields) {
#pragma unroll
    for (int f = 0; f < carried; ++f)
#pragma unroll
        for (int i = 0; i < lane_rows; ++i)
#pragma unroll
            for (int j = 0; j < lane_columns; ++j) fields[f][i][j] = 0;
}

// Sigma⁰ ← Sigma⁰ + x⊗x′ of one channel.
__device__ __forceinline__ void add_channel(const float* x, const float* y, Fields& fields) {
#pragma unroll
    for (int i = 0; i < lane_rows; ++i) {
        float pixel_x[lane_columns], pixel_y[lane_columns];
        load_row(x + i * WIDTH, pixel_x);
        load_row(y + i * WIDTH, pixel_y);
#pragma unroll
        for (int j = 0; j < lane_columns; ++j) fields[0][i][j] = fmaf(pixel_x[j], pixel_y[j], fields[0][i][j]);
    }
}

// Filters Sigma⁰, and starts the other fields.
template <class Place> __device__ __forceinline__ void start(const Place& place, Fields& fields) {
    Column<decltype(Place::rows)> column;
#pragma unroll
    for (int i = 0; i < lane_rows; ++i) {
        float row[lane_columns];
#pragma unroll
        for (int j = 0; j < lane_columns; ++j) row[j] = fields[0][i][j];
        box_row(place.columns, row);
        column.take(place.rows, i, row, fields[0]);
    }
    column.finish(place.rows, fields[0]);
#pragma unroll
    for (int f = 1; f < carried; ++f) {
        // The last field starts at Sigma⁰ where it is the gap between the variants.
        const bool from_sigma = FIELDS == 2 ? f == 2 : THETA_FROM_SIGMA;
#pragma unroll
        for (int i = 0; i < lane_rows; ++i)
#pragma unroll
            for (int j = 0; j < lane_columns; ++j) fields[f][i][j] = from_sigma ? fields[0][i][j] : 0.0f;
    }
}

// On every RESCALE_PERIOD-th layer the units of all fields are changed by a power of two: with gain = π they grow by 9π
// a layer.
__device__ __forceinline__ bool rescales(int h) { return h % RESCALE_PERIOD == RESCALE_PERIOD - 1; }
__device__ __forceinline__ void rescale(Fields& fields) {
#pragma unroll
    for (int f = 0; f < carried; ++f)
#pragma unroll
        for (int i = 0; i < lane_rows; ++i)
#pragma unroll
            for (int j = 0; j < lane_columns; ++j) fields[f][i][j] *= RESCALE;
}

constexpr __device__ bool is_power_of_two(int n) { return (n & (n - 1)) == 0; }

// The sum over a plane's lanes, always in the same order, in its leading lane. Other lanes may get that of lanes which
// are not the plane's.
template <class T> __device__ __forceinline__ T sum_plane(const Lane& lane, T value) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
        if (offset >= lanes_across) continue;
        const T other = __shfl_down_sync(full_warp, value, offset);
        if (is_power_of_two(lanes_across) || lane.across + offset < lanes_across) value += other;
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
        if (offset >= lanes_down) continue;
        const T other = __shfl_down_sync(full_warp, value, offset * lanes_across * planes_per_warp);
        if (is_power_of_two(lanes_down) || lane.down + offset < lanes_down) value += other;
    }
    return value;
}
