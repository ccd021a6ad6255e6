// Choice of the instruction set at run time.
#pragma once

#include "problem.hpp"

namespace exact_cntk {

// The kernels for `isa`, or the best that this machine can run if it is null; null if it cannot run them.
const Engine* find_engine(const char* isa);

template <class T> Method<T> select_method(const Engine& engine, const Problem<T>& problem);

}  // namespace exact_cntk
