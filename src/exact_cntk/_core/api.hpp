// The C interface of the core, called from Python through ctypes.
#pragma once

#include <cstdint>

#define EXACT_CNTK_EXPORT extern "C" __attribute__((visibility("default")))

// Kinds of kernel matrices; the order is known to _cpu.py.
enum exact_cntk_kind : std::int32_t { exact_cntk_nngp = 0, exact_cntk_ntk_hidden = 1, exact_cntk_ntk_all = 2 };

// Answers of exact_cntk_compute; the order is known to _cpu.py.
enum exact_cntk_status : std::int32_t {
    exact_cntk_ok = 0,
    exact_cntk_cancelled = 1,
    exact_cntk_no_memory = 2,
    exact_cntk_no_such_isa = 3,
    exact_cntk_failed = 4,
};

// Mirrors the ctypes structure in _cpu.py, field by field.
struct exact_cntk_request {
    const void* x1;  // [n][height][width][channels]
    const void* x2;  // [m][height][width][channels], or null: x2 is x1
    double* out;     // [outputs][n][m]
    std::int64_t n, m;
    std::int32_t height, width, channels;
    std::int32_t filter_size;
    std::int32_t pooling;          // 1: gap, 0: flatten
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
// Name of the instruction set that a request for `isa` (null: the best) would use, or null.
EXACT_CNTK_EXPORT const char* exact_cntk_instruction_set(const char* isa);
// Digest of the sources from which this library was built.
EXACT_CNTK_EXPORT const char* exact_cntk_source_digest();
