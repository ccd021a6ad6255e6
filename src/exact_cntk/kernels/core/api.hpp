// The C interface of the core, called from Python through ctypes.
#pragma once

#include <cstdint>

#define EXACT_CNTK_EXPORT extern "C" __attribute__((visibility("default")))

// Kinds of kernel matrices; the order is known to kernels/cpu.py.
enum exact_cntk_kind : std::int32_t { exact_cntk_nngp = 0, exact_cntk_ntk_hidden = 1, exact_cntk_ntk_all = 2 };

// Readouts: the sum over the pixels, the mean over all pairs of pixels, and local average pooling before the sum.
enum exact_cntk_pooling : std::int32_t { exact_cntk_flatten = 0, exact_cntk_gap = 1, exact_cntk_lap = 2 };

// Answers of exact_cntk_compute; the order is known to kernels/cpu.py.
enum exact_cntk_status : std::int32_t {
    exact_cntk_ok = 0,
    exact_cntk_cancelled = 1,
    exact_cntk_no_memory = 2,
    exact_cntk_no_such_isa = 3,
    exact_cntk_failed = 4,
};

// Mirrors the ctypes structure in kernels/cpu.py, field by field.
struct exact_cntk_request {
    const void* x1;  // [n][height][width][channels]
    const void* x2;  // [m][height][width][channels], or null: x2 is x1
    double* out;     // [outputs][n][m]
    std::int64_t n, m;
    std::int32_t height, width, channels;
    std::int32_t filter_size;
    std::int32_t pooling;          // exact_cntk_pooling
    std::int32_t pooling_window;   // of lap: pixels a side, odd
    std::int32_t input_is_double;  // of x1 and x2
    std::int32_t compute_in_double;
    std::int32_t threads;
    std::int32_t outputs;
    const std::int32_t* output_kind;    // [outputs]
    const std::int32_t* output_layers;  // [outputs], ReLU layers: depth − 1
    const char* isa;                    // name, or null: the best that this machine has
    std::int64_t table_bytes;           // budget of the norm tables, see pass.cpp
    std::int64_t* done;                 // pairs finished so far, written while running
    std::int32_t* cancelled;            // set by the caller to stop
};

EXACT_CNTK_EXPORT std::int32_t exact_cntk_compute(const exact_cntk_request* request);

// Sums computed elsewhere, by a GPU: the core makes the images and tables that a kernel reads, and outputs out of the
// sums that it leaves. Images of `out` are those of `request`; its `isa` serves pairs that need float64, `table_bytes`
// is not read.
struct exact_cntk_remote;

// Mirrors the ctypes structure in kernels/cpu.py, field by field.
struct exact_cntk_remote_shape {
    std::int32_t scalar_bytes;      // of the recursion's type: 4 or 8
    std::int32_t layers;            // ReLU layers of the deepest network
    std::int32_t emissions;         // depths asked for
    std::int32_t fields;            // Fields of problem.hpp; a pair has 1 + fields sums a depth
    std::int32_t theta_from_sigma;  // Theta⁰ = Sigma⁰ instead of 0
    std::int32_t arccos_degree;     // of the polynomial in a layer's constants
    std::int32_t pooling;           // other displacements than (0, 0) count, up to the next two numbers
    std::int32_t reach_rows;
    std::int32_t reach_columns;
    std::int32_t pooling_radius;  // of local pooling, which weighs entries; −1: all count once
};

// Keeps a copy of the request, but not of what it points to. `gains` [layers] stand in for 1/q²; null lets each layer
// have its best.
EXACT_CNTK_EXPORT std::int32_t exact_cntk_remote_create(const exact_cntk_request* request, const double* gains,
                                                        exact_cntk_remote** remote);
EXACT_CNTK_EXPORT void exact_cntk_remote_destroy(exact_cntk_remote* remote);
EXACT_CNTK_EXPORT void exact_cntk_remote_describe(const exact_cntk_remote* remote, exact_cntk_remote_shape* shape);
// emission: [layers], index among the requested depths or -1; constants: [layers][2 + arccos_degree + 1] of the
// recursion's type, the members of Layer in problem.hpp.
EXACT_CNTK_EXPORT void exact_cntk_remote_constants(const exact_cntk_remote* remote, std::int32_t* emission,
                                                   void* constants);
// Images [first, first + count) of x1 (columns = 0) or x2: pixels [count][channels][height][width], scaled, and norms
// [count][layers][height][width]. Where x2 is x1, columns are the rows: columns = 0 prepares both.
EXACT_CNTK_EXPORT std::int32_t exact_cntk_remote_prepare(exact_cntk_remote* remote, std::int32_t columns,
                                                         std::int64_t first, std::int64_t count, void* pixels,
                                                         void* norms);
// Outputs of a rectangle of pairs, of prepared images, from sums [parts][emissions][1 + fields][rows·columns] and near
// counts [parts][2][rows·columns]; of parts there are 2 with pooling, else 1. Where x2 is x1, pairs above the diagonal
// are not read. May run beside exact_cntk_remote_prepare of other images, but not beside itself.
EXACT_CNTK_EXPORT std::int32_t exact_cntk_remote_finish(exact_cntk_remote* remote, std::int64_t first_row,
                                                        std::int64_t rows, std::int64_t first_column,
                                                        std::int64_t columns, const double* sums,
                                                        const std::int32_t* near);

// Name of the instruction set that a request for `isa` (null: the best) would use, or null.
EXACT_CNTK_EXPORT const char* exact_cntk_instruction_set(const char* isa);
// Digest of the sources from which this library was built.
EXACT_CNTK_EXPORT const char* exact_cntk_source_digest();
