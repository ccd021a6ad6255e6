#include "scheduler.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <numeric>

#include "faults.hpp"
#include "memory.hpp"

namespace cuda_emulator {

Thread* current_thread;
const Position* current;
Index block_index, block_size, grid_size;

namespace {

constexpr std::size_t stack_bytes = 256 * 1024, stack_shift = 17 * 64;

struct Warp {
    unsigned long long value[2][warp_lanes];  // of this exchange and the last one, which slower lanes still read
    unsigned exchanges, interval;
    int arrived, at_barrier, exited;
    Operation operation;
};

// Of the launch in progress.
const Launch* launch;
std::vector<Thread> threads;
std::vector<Warp> warps;
std::vector<Thread*> ready;  // a stack, so that a warp goes on as long as it can
unsigned char* stacks;
std::size_t stacks_bytes;
int at_barrier, exited;
Operation barrier;
unsigned interval;
std::uint64_t random_state;
std::jmp_buf launcher;
ucontext_t launcher_context;
sigjmp_buf failure;

std::uint64_t random_below(std::uint64_t bound) {
    // xorshift64*: any mixing will do.
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (random_state * 0x2545F4914F6CDD1DULL >> 33) % bound;
}

bool same(const Operation& a, const Operation& b) { return a.line == b.line && std::strcmp(a.name, b.name) == 0; }

int block_threads() { return static_cast<int>(launch->threads); }

Warp& own_warp() { return warps[current_thread->warp]; }

void become(Thread* thread) { current = current_thread = thread; }

// Gives way to a thread that can run; returns when this one is chosen again. If nobody can run, all have ended, or the
// fault is the emulator's: every way to wait for somebody who cannot come is refused on arrival.
__attribute__((noinline)) void give_way() {
    if (ready.empty()) {
        if (exited < block_threads()) fail("waits for ever: no thread of the block can run");
        if (_setjmp(current_thread->registers) == 0) _longjmp(launcher, 1);
        return;
    }
    if (launch->seed) std::swap(ready[random_below(ready.size())], ready.back());
    Thread* self = current_thread;
    Thread* next = ready.back();
    ready.pop_back();
    if (next == self) return;
    become(next);
    if (_setjmp(self->registers) == 0) _longjmp(next->registers, 1);
}

// Lets threads first … last, which waited for this one, run; at random also before this one goes on.
void release(int first, int last) {
    for (int t = last; t >= first; --t)
        if (&threads[t] != current_thread) ready.push_back(&threads[t]);
    if (!launch->seed) return;
    ready.push_back(current_thread);
    give_way();
}

// What another thread than this one waits for, for messages.
[[noreturn]] void fail_diverged(const Operation& here, const Operation& there, const char* whom) {
    fail("is at %s in line %d while %s at %s in line %d", here.name, here.line, whom, there.name, there.line);
}

Operation barrier_of_warp(int warp) {
    for (const Thread& thread : threads)
        if (thread.warp == warp && std::strcmp(thread.operation.name, "__syncthreads") == 0) return thread.operation;
    return barrier;
}

void end_of_kernel() {
    Warp& warp = own_warp();
    if (!current_thread->copies.empty())
        fail("ends with %zu asynchronous copies that it has not waited for", current_thread->copies.size());
    if (warp.arrived)
        fail("ends while other lanes of its warp wait at %s in line %d", warp.operation.name, warp.operation.line);
    if (at_barrier) fail("ends while other threads of the block wait at __syncthreads in line %d", barrier.line);
    ++warp.exited;
    ++exited;
}

// A fibre: the kernel once for each block. It starts by returning to start_fibres.
void run_fibre() {
    Thread* self = current_thread;
    if (_setjmp(self->registers) == 0) setcontext(&launcher_context);
    for (;;) {
        launch->kernel(launch->arguments);
        end_of_kernel();
        give_way();
    }
}

bool start_fibres() {
    const std::size_t page = sysconf(_SC_PAGESIZE);
    stacks_bytes = launch->threads * stack_bytes;
    void* memory =
        mmap(nullptr, stacks_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return false;
    stacks = static_cast<unsigned char*>(memory);
    for (Thread& thread : threads) {
        unsigned char* stack = stacks + (&thread - threads.data()) * stack_bytes;
        mprotect(stack, page, PROT_NONE);  // a stack that overflows faults
        ucontext_t context;
        getcontext(&context);
        context.uc_stack.ss_sp = stack;
        // Tops that are not at the same offset within pages: the caches would keep but a few of them.
        context.uc_stack.ss_size = stack_bytes - thread.index.x % 64 * stack_shift;
        context.uc_link = nullptr;
        makecontext(&context, run_fibre, 0);
        become(&thread);
        swapcontext(&launcher_context, &context);
    }
    return true;
}

void run_block(unsigned block) {
    block_index = {block, 0, 0};
    at_barrier = exited = 0;
    ++interval;
    forget(dynamic_shared_region);
    forget(static_shared_region);
    std::fill(warps.begin(), warps.end(), Warp{});
    ready.clear();
    for (int t = block_threads() - 1; t >= 0; --t) {
        threads[t].operation = {"its start", 0};
        threads[t].committed = 0;
        ready.push_back(&threads[t]);
    }
    if (launch->seed) std::swap(ready[random_below(ready.size())], ready.back());
    become(ready.back());
    ready.pop_back();
    if (_setjmp(launcher) == 0) _longjmp(current_thread->registers, 1);
}

void run_blocks() {
    std::vector<unsigned> order(launch->blocks);
    std::iota(order.begin(), order.end(), 0U);
    if (launch->seed)
        for (std::size_t k = order.size(); k > 1; --k) std::swap(order[k - 1], order[random_below(k)]);
    for (unsigned block : order) run_block(block);
}

void prepare(const Launch& request) {
    launch = &request;
    random_state = request.seed;
    interval = 0;
    block_size = {request.threads, 1, 1};
    grid_size = {request.blocks, 1, 1};
    threads.assign(request.threads, Thread{});
    warps.assign(request.threads / warp_lanes, Warp{});
    ready.reserve(request.threads);
    for (unsigned t = 0; t < request.threads; ++t) {
        threads[t].index = {t, 0, 0};
        threads[t].lane = static_cast<int>(t) % warp_lanes;
        threads[t].warp = static_cast<int>(t) / warp_lanes;
    }
    dynamic_shared_region = make_region("dynamic shared memory", request.shared_bytes);
    static_shared_region = Region{};
    static_shared_region.name = "static shared memory";
    static_shared_region.begin = static_shared_region.mapping = request.static_shared;
    static_shared_region.bytes = static_shared_region.mapping_bytes = request.static_shared_bytes;
    begin_launch();
}

void check_slack(const Region& region) {
    if (!slack_is_intact(region)) fail("or another one has written outside of %s", region.name);
}

}  // namespace

void fail(const char* format, ...) {
    char what[400];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    const Thread& thread = *current_thread;
    std::snprintf(launch->message, launch->message_bytes, "thread %u of block %u (lane %d of warp %d) %s",
                  thread.index.x, block_index.x, thread.lane, thread.warp, what);
    siglongjmp(failure, 1);
}

const unsigned long long* exchange(Operation operation, unsigned mask, unsigned long long value) {
    Thread& self = *current_thread;
    Warp& warp = own_warp();
    if (mask != all_lanes)
        fail("is at %s in line %d with mask %#x: only full warps", operation.name, operation.line, mask);
    if (warp.exited)
        fail("is at %s in line %d after %d lanes of its warp have ended", operation.name, operation.line, warp.exited);
    if (warp.at_barrier) fail_diverged(operation, barrier_of_warp(self.warp), "another lane of its warp is");
    if (warp.arrived == 0)
        warp.operation = operation;
    else if (!same(warp.operation, operation))
        fail_diverged(operation, warp.operation, "another lane of its warp is");
    self.operation = operation;
    unsigned long long* values = warp.value[warp.exchanges % 2];
    values[self.lane] = value;
    if (++warp.arrived < warp_lanes) {
        give_way();
        return values;
    }
    warp.arrived = 0;
    ++warp.exchanges;
    release(self.warp * warp_lanes, self.warp * warp_lanes + warp_lanes - 1);
    return values;
}

void synchronise_warp(Operation operation, unsigned mask) {
    Warp& warp = own_warp();
    const bool last = warp.arrived == warp_lanes - 1;
    if (last) ++warp.interval;
    exchange(operation, mask, 0);
}

void synchronise_block(Operation operation) {
    Thread& self = *current_thread;
    Warp& warp = own_warp();
    if (exited) fail("is at __syncthreads in line %d after %d threads of the block have ended", operation.line, exited);
    if (warp.arrived) fail_diverged(operation, warp.operation, "another lane of its warp is");
    if (at_barrier == 0)
        barrier = operation;
    else if (!same(barrier, operation))
        fail_diverged(operation, barrier, "another thread of the block is");
    self.operation = operation;
    ++warp.at_barrier;
    if (++at_barrier < block_threads()) return give_way();
    at_barrier = 0;
    ++interval;
    for (Warp& w : warps) w.at_barrier = 0;
    release(0, block_threads() - 1);
}

void* dynamic_shared_memory() { return dynamic_shared_region.begin; }

bool checks_accesses() { return launch->checks_accesses != 0; }

Moment now() {
    const Thread& self = *current_thread;
    return {static_cast<int>(block_index.x), static_cast<int>(self.index.x), interval, warps[self.warp].interval};
}

}  // namespace cuda_emulator

int cuda_emulator_launch(const cuda_emulator::Launch* request) {
    using namespace cuda_emulator;
    if (request->threads == 0 || request->threads % warp_lanes != 0 || request->threads > 1024) {
        std::snprintf(request->message, request->message_bytes,
                      "%u threads a block: not whole warps, or more than 1024", request->threads);
        return 1;
    }
    prepare(*request);
    const FaultHandler handler(request->flush_denormals != 0);
    volatile int status = 1;
    if (sigsetjmp(failure, 1) == 0) {
        if (start_fibres()) {
            run_blocks();
            check_slack(dynamic_shared_region);
            for (const Region& array : arrays()) check_slack(array);
            status = 0;
        } else {
            std::snprintf(request->message, request->message_bytes, "no memory for %u stacks", request->threads);
        }
    }
    if (stacks) munmap(stacks, stacks_bytes);
    stacks = nullptr;
    free_region(dynamic_shared_region);
    return status;
}
