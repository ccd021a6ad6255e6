#include "isa.hpp"

#include <cstring>

namespace exact_cntk {

extern const Engine engine_portable;
#if defined(__x86_64__)
extern const Engine engine_avx2;
extern const Engine engine_avx512;
#endif

namespace {

struct Candidate {
    const Engine* engine;
    bool (*runs_here)();
};

bool always() { return true; }
#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

// Best first.
const Candidate candidates[] = {
#if defined(__x86_64__)
    {&engine_avx512, has_avx512},
    {&engine_avx2, has_avx2},
#endif
    {&engine_portable, always},
};

}  // namespace

const Engine* find_engine(const char* isa) {
    for (const Candidate& candidate : candidates)
        if ((!isa || std::strcmp(isa, candidate.engine->name) == 0) && candidate.runs_here()) return candidate.engine;
    return nullptr;
}

template <> Method<float> select_method(const Engine& engine, const Problem<float>& problem) {
    return engine.select_float(problem);
}
template <> Method<double> select_method(const Engine& engine, const Problem<double>& problem) {
    return engine.select_double(problem);
}

}  // namespace exact_cntk
