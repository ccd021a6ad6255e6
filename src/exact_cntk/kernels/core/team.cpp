#include "team.hpp"

#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace exact_cntk {

void run_team(int threads, long count, const int* cancelled, const std::function<void(long)>& task) {
    std::atomic<long> next{0};
    std::atomic<bool> failed{false};
    std::exception_ptr failure;
    std::mutex failure_guard;
    const auto work = [&] {
        try {
            while (!failed && !__atomic_load_n(cancelled, __ATOMIC_RELAXED)) {
                const long mine = next.fetch_add(1);
                if (mine >= count) return;
                task(mine);
            }
        } catch (...) {
            const std::lock_guard<std::mutex> lock(failure_guard);
            if (!failure) failure = std::current_exception();
            failed = true;
        }
    };
    std::vector<std::thread> helpers;
    try {
        helpers.reserve(threads);
        while (static_cast<int>(helpers.size()) < threads - 1 && static_cast<long>(helpers.size()) < count - 1)
            helpers.emplace_back(work);
    } catch (const std::system_error&) {
        // The system gives no more threads: those that did start, and this one, do all the work.
    }
    work();
    for (std::thread& helper : helpers) helper.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace exact_cntk
