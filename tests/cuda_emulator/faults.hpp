// The processor while a kernel runs: faults become messages, and denormals are flushed where the GPU's code flushes
// them.
#pragma once

#include <signal.h>

#include <cstdint>

namespace cuda_emulator {

class FaultHandler {
  public:
    explicit FaultHandler(bool flush_denormals);
    ~FaultHandler();
    FaultHandler(const FaultHandler&) = delete;
    FaultHandler& operator=(const FaultHandler&) = delete;

  private:
    static constexpr int signals = 5;
    struct sigaction before_[signals];
    stack_t stack_before_;
    std::uint64_t control_before_;
};

// "[code +0x…]": where a call returns to, which the loader turns into the line of the call; in a buffer that the next
// call reuses.
const char* place(const void* code);

}  // namespace cuda_emulator
