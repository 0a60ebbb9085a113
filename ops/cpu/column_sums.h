#pragma once

#include <cstdint>

#include "engine/tensor/dtype.h"
#include "ops/cpu/parallel.h"

namespace ghost::cpu {

/// out[c] = (accumulate ? out[c] : 0) + sum over rows of x[row, c]. Threads own columns, so the
/// order of summation does not depend on their number.
template <typename T>
void column_sums(const T* x, std::int64_t rows, std::int64_t cols, bool accumulate,
                 RealOf<T>* out) {
  constexpr std::int64_t kColumns = 64;
#pragma omp parallel for schedule(static) if (rows * cols > kParallelElements)
  for (std::int64_t begin = 0; begin < cols; begin += kColumns) {
    RealOf<T> sums[kColumns] = {};
    const std::int64_t count = begin + kColumns < cols ? kColumns : cols - begin;
    for (std::int64_t row = 0; row < rows; ++row) {
      const T* from = x + row * cols + begin;
#pragma omp simd
      for (std::int64_t c = 0; c < count; ++c) {
        sums[c] += widen(from[c]);
      }
    }
    for (std::int64_t c = 0; c < count; ++c) {
      out[begin + c] = (accumulate ? out[begin + c] : 0) + sums[c];
    }
  }
}

}  // namespace ghost::cpu
