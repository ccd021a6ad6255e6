// A team of threads that share out numbered tasks.
#pragma once

#include <functional>

namespace exact_cntk {

// Runs task(0) … task(count − 1), in no particular order, on up to `threads` threads including the caller's.
//
// Stops early once *cancelled is set. The first exception of a task stops the team and is thrown to the caller.
void run_team(int threads, long count, const int* cancelled, const std::function<void(long)>& task);

}  // namespace exact_cntk
