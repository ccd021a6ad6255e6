#include "faults.hpp"

#include <dlfcn.h>
#include <ucontext.h>

#include <cstdio>

#include "memory.hpp"

namespace cuda_emulator {
namespace {

constexpr int caught[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
constexpr std::size_t stack_bytes = 64 * 1024;
alignas(16) unsigned char handler_stack[stack_bytes];

#if defined(__x86_64__)
std::uint64_t float_control() { return __builtin_ia32_stmxcsr(); }
void set_float_control(std::uint64_t value) { __builtin_ia32_ldmxcsr(static_cast<unsigned>(value)); }
constexpr std::uint64_t flush = 0x8040;  // FTZ and DAZ
const void* fault_code(const ucontext_t* context) {
    return reinterpret_cast<const void*>(context->uc_mcontext.gregs[REG_RIP]);
}
#elif defined(__aarch64__)
std::uint64_t float_control() {
    std::uint64_t value;
    asm volatile("mrs %0, fpcr" : "=r"(value));
    return value;
}
void set_float_control(std::uint64_t value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
constexpr std::uint64_t flush = 1 << 24;  // FZ
const void* fault_code(const ucontext_t* context) { return reinterpret_cast<const void*>(context->uc_mcontext.pc); }
#else
#error "the emulator knows x86-64 and aarch64"
#endif

// Faults come from the kernel's own accesses, so that nothing is interrupted that must not be.
void on_fault(int signal, siginfo_t* info, void* context) {
    // As of a call, which `place` takes addresses to return from.
    const char* where = place(static_cast<const char*>(fault_code(static_cast<const ucontext_t*>(context))) + 1);
    if (signal == SIGFPE) fail("divides by zero %s", where);
    if (signal == SIGILL || signal == SIGTRAP) fail("runs into undefined behaviour %s", where);
    const auto* address = static_cast<const unsigned char*>(info->si_addr);
    const Region* region = nearest_region(address);
    if (!region) fail("touches address %p, in or near no array (or its stack overflows) %s", info->si_addr, where);
    const bool before = address < region->begin;
    const long distance = before ? region->begin - address : address - region->end();
    fail("touches memory %ld bytes %s of %s (%zu bytes) %s", distance, before ? "before the start" : "past the end",
         region->name, region->bytes, where);
}

}  // namespace

const char* place(const void* code) {
    static char text[40];
    Dl_info info;
    if (!dladdr(code, &info)) return "";
    const auto offset = static_cast<const char*>(code) - static_cast<const char*>(info.dli_fbase);
    std::snprintf(text, sizeof text, "[code +%#lx]", static_cast<unsigned long>(offset));
    return text;
}

FaultHandler::FaultHandler(bool flush_denormals) : control_before_(float_control()) {
    stack_t stack = {};
    stack.ss_sp = handler_stack;  // a fault may be a stack that overflowed
    stack.ss_size = stack_bytes;
    sigaltstack(&stack, &stack_before_);
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int k = 0; k < signals; ++k) sigaction(caught[k], &action, &before_[k]);
    if (flush_denormals) set_float_control(control_before_ | flush);
}

FaultHandler::~FaultHandler() {
    set_float_control(control_before_);
    for (int k = 0; k < signals; ++k) sigaction(caught[k], &before_[k], nullptr);
    sigaltstack(&stack_before_, nullptr);
}

}  // namespace cuda_emulator
