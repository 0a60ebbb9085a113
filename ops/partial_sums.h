#pragma once

#include <algorithm>

#include "engine/autograd/context.h"

namespace ghost {

/// Scratch in which the blocks of a GPU kernel leave what each has summed over its share of `rows`
/// rows, for a second kernel to add in order: [parts, cols], f32 or f64. The number of parts
/// depends on the rows alone, so the result does not depend on the device. Undefined on other
/// devices, whose kernels need none.
inline Tensor partial_sums(const Context& ctx, std::int64_t rows, std::int64_t cols,
                           DType dtype = DType::kF32) {
  constexpr std::int64_t kRows = 32;   // a part: fewer are not worth its traffic
  constexpr std::int64_t kMost = 264;  // two blocks for every multiprocessor of an H100 or H200
  if (!ctx.device().is_cuda()) {
    return {};
  }
  const std::int64_t parts = (rows + kRows - 1) / kRows;
  return ctx.empty({std::clamp<std::int64_t>(parts, 1, kMost), cols}, dtype);
}

}  // namespace ghost
