// Every access of a kernel, checked: is it inside of what it aims at, has anybody written what it reads, and does
// nothing but luck keep it apart from another thread's?
//
// A kernel compiled with -fsanitize=thread calls __tsan_readN and __tsan_writeN before its accesses to memory that
// other threads may see. These are ours, not the sanitizer's: fibres of one thread would show it no races. Two accesses
// to the same four bytes are in order if one thread makes both, or if a barrier of the block, or a __syncwarp of the
// warp that makes both, lies between; shuffles order nothing. Blocks are never in order.
#include <algorithm>

#include "faults.hpp"
#include "memory.hpp"

namespace cuda_emulator {
namespace {

int warp_of(int thread) { return thread / warp_lanes; }

bool in_order(const Moment& then, const Moment& now) {
    if (then.block != now.block) return false;
    if (then.thread == now.thread || then.interval != now.interval) return true;
    return warp_of(then.thread) == warp_of(now.thread) && then.warp_interval != now.warp_interval;
}

// Whether all reads that `word.read` stands for come before.
bool reads_in_order(const Word& word, const Moment& now) {
    if (word.blocks || word.read.block != now.block) return false;
    if (word.read.interval != now.interval) return true;
    if (word.warps) return false;
    if (!word.lanes) return in_order(word.read, now);
    return warp_of(word.read.thread) == warp_of(now.thread) && word.read.warp_interval != now.warp_interval;
}

[[noreturn]] void fail_race(const char* what, const Region& region, const unsigned char* address, const Moment& then,
                            const char* did, const void* code) {
    fail("%s byte %ld of %s, which thread %d of block %d %s with no barrier between %s", what,
         static_cast<long>(address - region.begin), region.name, then.thread, then.block, did, place(code));
}

void note_read(const Region& region, Word& word, const unsigned char* address, const Moment& now, const void* code) {
    if (word.written && !in_order(word.write, now)) fail_race("reads", region, address, word.write, "writes", code);
    if (!word.was_read || (reads_in_order(word, now) && !word.blocks)) {
        word.read = now;
        word.was_read = true;
        word.lanes = word.warps = false;
        return;
    }
    word.blocks = word.blocks || word.read.block != now.block;
    word.warps = word.warps || warp_of(word.read.thread) != warp_of(now.thread);
    word.lanes = word.lanes || word.read.thread != now.thread;
}

void note_write(const Region& region, Word& word, const unsigned char* address, const Moment& now, const void* code) {
    if (word.written && !in_order(word.write, now))
        fail_race("writes", region, address, word.write, "writes too", code);
    if (word.was_read && !reads_in_order(word, now)) fail_race("writes", region, address, word.read, "reads", code);
    word.write = now;
    word.written = true;
    word.was_read = word.lanes = word.warps = word.blocks = false;
}

}  // namespace

namespace {

// The access of whole words, of which some may be a structure's padding: only if nobody has written any is that wrong.
void note_access(Region& region, const unsigned char* address, std::size_t bytes, bool writes, const void* code) {
    if (address + bytes > region.end())
        fail("touches %zu bytes at byte %ld of %s, which has %zu %s", bytes, static_cast<long>(address - region.begin),
             region.name, region.bytes, place(code));
    if (region.words.empty()) region.words.assign(region.initialised.size(), Word{});
    const Moment moment = now();
    const std::size_t first = (address - region.begin) / 4, last = (address - region.begin + bytes - 1) / 4;
    bool any = writes;
    for (std::size_t w = first; w <= last; ++w) {
        any = any || region.initialised[w];
        if (writes) {
            note_write(region, region.words[w], address, moment, code);
            region.initialised[w] = true;
        } else {
            note_read(region, region.words[w], address, moment, code);
        }
    }
    if (!any) fail("reads byte %zu of %s, which nobody has written %s", 4 * first, region.name, place(code));
}

}  // namespace

void check_access(const void* address, std::size_t bytes, bool writes, const void* code) {
    if (Region* region = find_region(address))
        note_access(*region, static_cast<const unsigned char*>(address), bytes, writes, code);
}

}  // namespace cuda_emulator

#define EMULATED_ACCESS(bytes)                                                           \
    void __tsan_read##bytes(void* address) {                                             \
        cuda_emulator::check_access(address, bytes, false, __builtin_return_address(0)); \
    }                                                                                    \
    void __tsan_write##bytes(void* address) {                                            \
        cuda_emulator::check_access(address, bytes, true, __builtin_return_address(0));  \
    }                                                                                    \
    void __tsan_unaligned_read##bytes(void* address) {                                   \
        cuda_emulator::check_access(address, bytes, false, __builtin_return_address(0)); \
    }                                                                                    \
    void __tsan_unaligned_write##bytes(void* address) {                                  \
        cuda_emulator::check_access(address, bytes, true, __builtin_return_address(0));  \
    }

extern "C" {
EMULATED_ACCESS(1)
EMULATED_ACCESS(2)
EMULATED_ACCESS(4)
EMULATED_ACCESS(8)
EMULATED_ACCESS(16)
// Copies of whole structures.
void __tsan_read_range(void* address, unsigned long bytes) {
    cuda_emulator::check_access(address, bytes, false, __builtin_return_address(0));
}
void __tsan_write_range(void* address, unsigned long bytes) {
    cuda_emulator::check_access(address, bytes, true, __builtin_return_address(0));
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit(void*) {}
}
