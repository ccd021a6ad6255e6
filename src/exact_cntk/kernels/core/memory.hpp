// Memory aligned to cache lines, uninitialised until written.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace exact_cntk {

template <class T> class AlignedArray {
  public:
    AlignedArray() = default;
    explicit AlignedArray(std::size_t count)
        : alignment_(std::align_val_t(count * sizeof(T) < huge_page ? 64 : huge_page)) {
        data_ = static_cast<T*>(::operator new(count * sizeof(T), alignment_));
#if defined(__linux__)
        // Flatten walks through megabytes of tables, and in small pages waits for the page table. A hint: may fail.
        if (alignment_ == std::align_val_t(huge_page)) madvise(data_, count * sizeof(T), MADV_HUGEPAGE);
#endif
    }
    AlignedArray(AlignedArray&& other) noexcept : alignment_(other.alignment_), data_(other.data_) {
        other.data_ = nullptr;
    }
    AlignedArray& operator=(AlignedArray&& other) noexcept {
        std::swap(alignment_, other.alignment_);
        std::swap(data_, other.data_);
        return *this;
    }
    ~AlignedArray() { ::operator delete(data_, alignment_); }
    T* get() const { return data_; }

  private:
    static constexpr std::size_t huge_page = 2 << 20;

    std::align_val_t alignment_{64};
    T* data_ = nullptr;
};

}  // namespace exact_cntk
