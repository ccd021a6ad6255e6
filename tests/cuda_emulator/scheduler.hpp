// The emulated machine: the threads of one block as fibres of one operating system thread.
//
// A fibre runs until it meets a warp operation or a barrier that others have not reached yet; the next one that can run
// then takes over. Blocks run one after the other, which is allowed since they cannot wait for each other.
#pragma once

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "machine.hpp"

namespace cuda_emulator {

// A copy on its way from global to shared memory, until its thread waits for it.
struct Copy {
    void* target;
    const void* source;
    std::size_t bytes;
    int group;
};

struct Thread : Position {
    Operation operation;  // the last one that it came to
    std::vector<Copy> copies;
    int committed;  // groups of copies
    std::jmp_buf registers;
};

// One call of a kernel. `seed` 0 runs warps one by one, each to its next barrier, and blocks in order; any other value
// picks the next block, and at each switch the next thread, at random.
struct Launch {
    void (*kernel)(void** arguments);
    void** arguments;
    std::uint32_t blocks, threads;
    std::uint64_t shared_bytes;  // dynamic shared memory
    unsigned char* static_shared;
    std::uint64_t static_shared_bytes;
    std::uint64_t seed;
    std::int32_t flush_denormals;
    std::int32_t checks_accesses;  // the kernel was compiled to report them, see accesses.cpp
    char* message;                 // of what went wrong
    std::uint64_t message_bytes;
};

extern Thread* current_thread;  // the same as `current`

bool checks_accesses();

// Now, as races see it: `interval` counts the block's barriers, `warp_interval` the warp's synchronisations.
struct Moment {
    int block, thread;
    unsigned interval, warp_interval;
};
Moment now();

}  // namespace cuda_emulator

// Returns 0, or 1 and a message.
extern "C" int cuda_emulator_launch(const cuda_emulator::Launch* launch);
