// Memory aligned to cache lines, uninitialised until written.
#pragma once

#include <cstddef>
#include <new>

namespace exact_cntk {

template <class T> class AlignedArray {
  public:
    AlignedArray() = default;
    explicit AlignedArray(std::size_t count)
        : data_(static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(64)))) {}
    AlignedArray(AlignedArray&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
    AlignedArray& operator=(AlignedArray&& other) noexcept {
        T* mine = data_;
        data_ = other.data_;
        other.data_ = mine;
        return *this;
    }
    ~AlignedArray() { ::operator delete(data_, std::align_val_t(64)); }
    T* get() const { return data_; }

  private:
    T* data_ = nullptr;
};

}  // namespace exact_cntk
