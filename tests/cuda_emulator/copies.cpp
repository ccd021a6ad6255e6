// Asynchronous copies. They land as late as they may, when their thread waits for them; until then their target is
// poison, whatever was there before.
#include <cstring>

#include "memory.hpp"

namespace cuda_emulator {

void start_copy(void* shared, const void* global, std::size_t bytes, int line) {
    const Region* target = find_region(shared);
    const Region* source = find_region(global);
    const auto inside = [bytes](const Region* region, const void* address) {
        return region && static_cast<const unsigned char*>(address) + bytes <= region->end();
    };
    const auto aligned = [bytes](const void* address) {
        return reinterpret_cast<std::uintptr_t>(address) % bytes == 0;
    };
    if (!inside(target, shared) || (target != &dynamic_shared_region && target != &static_shared_region))
        fail("copies to %p, which is not in shared memory, in line %d", shared, line);
    if (!inside(source, global) || source == &dynamic_shared_region || source == &static_shared_region)
        fail("copies from %p, which is in no array, in line %d", global, line);
    if (!aligned(shared) || !aligned(global))
        fail("copies %zu bytes from %p to %p, which are not both aligned, in line %d", bytes, global, shared, line);
    if (checks_accesses()) {
        check_access(global, bytes, false, nullptr);
        check_access(shared, bytes, true, nullptr);
    }
    std::memset(shared, poison, bytes);
    mark(shared, bytes, false);
    current_thread->copies.push_back({shared, global, bytes, current_thread->committed});
}

void commit_copies() { ++current_thread->committed; }

// As wait_group: copies that were not committed are not waited for.
void wait_for_copies(int pending_groups) {
    std::vector<Copy>& copies = current_thread->copies;
    std::size_t kept = 0;
    for (const Copy& copy : copies) {
        if (copy.group >= current_thread->committed - pending_groups) {
            copies[kept++] = copy;
            continue;
        }
        std::memcpy(copy.target, copy.source, copy.bytes);
        if (checks_accesses()) check_access(copy.target, copy.bytes, true, nullptr);
    }
    copies.resize(kept);
}

}  // namespace cuda_emulator
