// What device code sees of the emulated machine. No standard headers: each kernel's program includes this one.
#pragma once

using size_t = decltype(sizeof 0);

namespace cuda_emulator {

constexpr int warp_lanes = 32;
constexpr unsigned all_lanes = 0xFFFFFFFFU;

struct Index {
    unsigned x, y, z;
};

// A thread within its block.
struct Position {
    Index index;
    int lane, warp;
};
extern const Position* current;
extern Index block_index, block_size, grid_size;

// Where in the program a thread waits: threads that wait for each other must be at the same place.
struct Operation {
    const char* name;
    int line;
};

// Waits for all lanes of the warp; returns what each has given, valid until the lane's next exchange.
const unsigned long long* exchange(Operation operation, unsigned mask, unsigned long long value);
// Waits for all lanes of the warp, and orders their accesses to memory.
void synchronise_warp(Operation operation, unsigned mask);
// Waits for all threads of the block.
void synchronise_block(Operation operation);

void* dynamic_shared_memory();

// Asynchronous copies of this thread, as cp.async, cp.async.commit_group and cp.async.wait_group.
void start_copy(void* shared, const void* global, size_t bytes, int line);
void commit_copies();
void wait_for_copies(int pending_groups);

// Ends the launch with a message, prefixed by the thread that ran into it.
[[noreturn]] __attribute__((format(printf, 1, 2))) void fail(const char* format, ...);

}  // namespace cuda_emulator
