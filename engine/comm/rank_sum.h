#pragma once

#include <cstdint>

#include "engine/tensor/tensor.h"

namespace ghost {

/// parts [P, n], the elements of ranks 0..P-1; out [n], dtype of parts (f32, f64, bf16), may be a
/// row of parts:
///
///   out = ((parts_0 + parts_1) + parts_2) + ...   in f32 for bf16, rounded once
void sum_in_rank_order(const Tensor& parts, const Tensor& out);

namespace cpu {
void sum_in_rank_order(const Tensor& parts, const Tensor& out);
}
namespace cuda {
void sum_in_rank_order(const Tensor& parts, const Tensor& out);
}

}  // namespace ghost
