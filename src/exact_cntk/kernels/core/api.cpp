#include "api.hpp"

#include <new>

#include "isa.hpp"
#include "pass.hpp"

// No exception may cross into C.
std::int32_t exact_cntk_compute(const exact_cntk_request* request) {
    const exact_cntk::Engine* engine = exact_cntk::find_engine(request->isa);
    if (!engine) return exact_cntk_no_such_isa;
    try {
        exact_cntk::run_pass(*request, *engine);
    } catch (const std::bad_alloc&) {
        return exact_cntk_no_memory;
    } catch (...) {
        return exact_cntk_failed;
    }
    return __atomic_load_n(request->cancelled, __ATOMIC_RELAXED) ? exact_cntk_cancelled : exact_cntk_ok;
}

const char* exact_cntk_instruction_set(const char* isa) {
    const exact_cntk::Engine* engine = exact_cntk::find_engine(isa);
    return engine ? engine->name : nullptr;
}

const char* exact_cntk_source_digest() { return EXACT_CNTK_SOURCE_DIGEST; }
