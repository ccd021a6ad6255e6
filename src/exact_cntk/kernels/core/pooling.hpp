// Local average pooling: how often the windows of the pooled image hold two pixels of one image row, or column.
//
// In an anonymous namespace, as this header is compiled under several instruction sets, see problem.hpp.
#pragma once

namespace exact_cntk {
namespace {

// Pixels a of [0, size) whose windows [a − radius, a + radius] hold both p and p + shift.
[[maybe_unused]] inline int windows_with_both(int p, int shift, int radius, int size) {
    const int low = shift < 0 ? p + shift : p, high = shift < 0 ? p : p + shift;
    const int first = high > radius ? high - radius : 0, last = size - 1 - low > radius ? low + radius : size - 1;
    return last < first ? 0 : last - first + 1;
}

}  // namespace
}  // namespace exact_cntk
