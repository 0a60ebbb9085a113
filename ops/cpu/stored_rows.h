#pragma once

// Rows of activations, stored as T, and as the kernels compute with them, RealOf<T>.

#include <cstdint>
#include <type_traits>

#include "engine/tensor/dtype.h"
#include "ops/cpu/gemm.h"

namespace ghost::cpu {

template <typename T>
void widen_row(const T* from, RealOf<T>* to, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    to[i] = widen(from[i]);
  }
}

/// Rounds.
template <typename T>
void put_row(const RealOf<T>* from, T* to, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    put(to[i], from[i]);
  }
}

/// Rows, `stride` apart, as an operand: where they lie, or widened into `place` one after the
/// other.
template <typename T>
Matrix<const RealOf<T>> load_rows(const T* rows, std::int64_t stride, std::int64_t count,
                                  std::int64_t width, RealOf<T>* place) {
  if constexpr (std::is_same_v<T, RealOf<T>>) {
    return {rows, stride};
  } else {
    for (std::int64_t row = 0; row < count; ++row) {
      widen_row(rows + row * stride, place + row * width, width);
    }
    return {place, width};
  }
}

/// Where to form such rows: where they belong, or in `place` until `store_rows`.
template <typename T>
Matrix<RealOf<T>> place_rows(T* rows, std::int64_t stride, std::int64_t width, RealOf<T>* place) {
  if constexpr (std::is_same_v<T, RealOf<T>>) {
    return {rows, stride};
  } else {
    return {place, width};
  }
}

/// Rounds what was formed in `from` into `rows`; nothing where they are the same.
template <typename T>
void store_rows(const Matrix<RealOf<T>>& from, T* rows, std::int64_t stride, std::int64_t count,
                std::int64_t width) {
  if constexpr (!std::is_same_v<T, RealOf<T>>) {
    for (std::int64_t row = 0; row < count; ++row) {
      put_row(from.data + row * from.stride, rows + row * stride, width);
    }
  }
}

}  // namespace ghost::cpu
