// Memory that kernels may touch: arrays between pages that nobody may touch, filled with poison.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "scheduler.hpp"

namespace cuda_emulator {

// What is in memory before it is written: NaN in every floating-point format.
constexpr unsigned char poison = 0xFF;

// The last accesses to four bytes, see accesses.cpp.
struct Word {
    Moment write, read;
    bool written, was_read;     // in this launch (shared memory: in this block)
    bool lanes, warps, blocks;  // `read` stands for several lanes, warps or blocks
};

// An array that ends where memory begins that nobody may touch; more of it lies before its first page.
struct Region {
    const char* name;
    unsigned char *mapping, *begin;
    std::size_t mapping_bytes, bytes;
    std::vector<bool> initialised;  // of each four bytes
    std::vector<Word> words;        // empty unless accesses are checked

    unsigned char* end() const { return begin + bytes; }
    bool contains(const void* address) const { return address >= begin && address < end(); }
    bool surrounds(const void* address) const { return address >= mapping && address < mapping + mapping_bytes; }
};

Region make_region(const char* name, std::size_t bytes);
void free_region(Region& region);
// Poison throughout, and nothing of it initialised.
void forget(Region& region);
// Whether these bytes, of shared memory or of an array, hold something.
void mark(const void* address, std::size_t bytes, bool initialised);
// The slack around an array, which no kernel may write; false if one has.
bool slack_is_intact(const Region& region);

// The current block's shared memory: dynamic and static.
extern Region dynamic_shared_region, static_shared_region;
// Shared memory or array that holds this address, or null.
Region* find_region(const void* address);
// Shared memory or array on whose pages, guards included, the address lies, or null.
Region* nearest_region(const void* address);
std::vector<Region>& arrays();

// Forget the last launch: who has touched the arrays, and what a failed one has written beside them.
void begin_launch();
// Checks and notes one access by the current thread, from `code`; memory in no region is the thread's own.
void check_access(const void* address, std::size_t bytes, bool writes, const void* code);

}  // namespace cuda_emulator

extern "C" {
// An array of global memory, poisoned; `name` is copied. Null if there is no memory.
void* cuda_emulator_allocate(std::uint64_t bytes, const char* name);
void cuda_emulator_free(void* array);
// Tells that the host has written there.
void cuda_emulator_filled(const void* address, std::uint64_t bytes);
}
