// A kernel as a library: CUDA_EMULATOR_PROGRAM is the file of its source, CUDA_EMULATOR_ENTRY its name.
#include "cuda_builtins.hpp"

namespace {

#include CUDA_EMULATOR_PROGRAM

// 0, 1, … count − 1; std::index_sequence, without the standard library.
template <int... k> struct Numbers {};
template <int count, int... k> struct Count : Count<count - 1, count - 1, k...> {};
template <int... k> struct Count<0, k...> {
    using Type = Numbers<k...>;
};

template <class... Parameters, int... k>
void call(void (*kernel)(Parameters...), void** arguments, Numbers<k...>) {
    kernel(*static_cast<Parameters*>(arguments[k])...);
}
template <class... Parameters> void call(void (*kernel)(Parameters...), void** arguments) {
    call(kernel, arguments, typename Count<sizeof...(Parameters)>::Type());
}
template <class... Parameters> constexpr int count_parameters(void (*)(Parameters...)) { return sizeof...(Parameters); }

}  // namespace

extern "C" {
// Made by the linker if there is static shared memory.
extern unsigned char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern unsigned char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));

void cuda_emulator_kernel(void** arguments) { call(CUDA_EMULATOR_ENTRY, arguments); }
int cuda_emulator_parameters() { return count_parameters(CUDA_EMULATOR_ENTRY); }
unsigned char* cuda_emulator_static_shared(size_t* bytes) {
    *bytes = __stop_cuda_shared - __start_cuda_shared;
    return __start_cuda_shared;
}
}
