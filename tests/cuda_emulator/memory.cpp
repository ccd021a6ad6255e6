#include "memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace cuda_emulator {

Region dynamic_shared_region, static_shared_region;

namespace {

constexpr std::size_t alignment = 16;  // the most that a kernel's vector access needs

constexpr std::size_t guard_bytes = 1 << 20;  // address space is free

std::size_t page_bytes() { return sysconf(_SC_PAGESIZE); }
std::size_t round_up(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }

unsigned char* first_page(const Region& region) { return region.mapping + guard_bytes; }
unsigned char* last_guard(const Region& region) { return region.mapping + region.mapping_bytes - guard_bytes; }

bool all_poison(const unsigned char* first, const unsigned char* last) {
    return std::all_of(first, last, [](unsigned char byte) { return byte == poison; });
}

Region* array_at(const void* begin) {
    for (Region& region : arrays())
        if (region.begin == begin) return &region;
    return nullptr;
}

}  // namespace

std::vector<Region>& arrays() {
    static std::vector<Region> all;
    return all;
}

Region make_region(const char* name, std::size_t bytes) {
    Region region{};
    const std::size_t inside = round_up(std::max(bytes, alignment), page_bytes());
    region.mapping_bytes = inside + 2 * guard_bytes;
    void* mapping = mmap(nullptr, region.mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) return region;
    region.name = name;
    region.bytes = bytes;
    region.mapping = static_cast<unsigned char*>(mapping);
    region.begin = last_guard(region) - round_up(bytes, alignment);
    mprotect(region.mapping, guard_bytes, PROT_NONE);
    mprotect(last_guard(region), guard_bytes, PROT_NONE);
    std::memset(first_page(region), poison, inside);
    region.initialised.assign(round_up(bytes, 4) / 4, false);
    return region;
}

void free_region(Region& region) {
    if (region.mapping) munmap(region.mapping, region.mapping_bytes);
    region = Region{};
}

void forget(Region& region) {
    if (region.bytes == 0) return;
    std::memset(region.begin, poison, region.bytes);
    region.initialised.assign(round_up(region.bytes, 4) / 4, false);
    std::fill(region.words.begin(), region.words.end(), Word{});
}

void mark(const void* address, std::size_t bytes, bool initialised) {
    Region* region = find_region(address);
    if (!region || region->initialised.empty()) return;
    const std::size_t start = static_cast<const unsigned char*>(address) - region->begin;
    for (std::size_t w = start / 4; w <= (start + bytes - 1) / 4; ++w) region->initialised[w] = initialised;
}

bool slack_is_intact(const Region& region) {
    return all_poison(first_page(region), region.begin) && all_poison(region.end(), last_guard(region));
}

void mend_slack(Region& region) {
    std::fill(first_page(region), region.begin, poison);
    std::fill(region.end(), last_guard(region), poison);
}

Region* find_region(const void* address) {
    if (dynamic_shared_region.contains(address)) return &dynamic_shared_region;
    if (static_shared_region.contains(address)) return &static_shared_region;
    for (Region& region : arrays())
        if (region.contains(address)) return &region;
    return nullptr;
}

Region* nearest_region(const void* address) {
    if (dynamic_shared_region.surrounds(address)) return &dynamic_shared_region;
    for (Region& region : arrays())
        if (region.surrounds(address)) return &region;
    return nullptr;
}

void begin_launch() {
    for (Region& region : arrays()) {
        region.words.clear();
        mend_slack(region);
    }
}

}  // namespace cuda_emulator

using namespace cuda_emulator;

void* cuda_emulator_allocate(std::uint64_t bytes, const char* name) {
    Region region = make_region(strdup(name), bytes);
    if (!region.mapping) return nullptr;
    arrays().push_back(region);
    return region.begin;
}

void cuda_emulator_free(void* array) {
    Region* region = array_at(array);
    if (!region) return;
    free(const_cast<char*>(region->name));
    free_region(*region);
    arrays().erase(arrays().begin() + (region - arrays().data()));
}

void cuda_emulator_filled(const void* address, std::uint64_t bytes) {
    if (bytes > 0) mark(address, bytes, true);
}
