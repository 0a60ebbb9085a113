#pragma once

#include "engine/tensor/tensor.h"

namespace ghost::cuda {

/// out[c] = (accumulate ? out[c] : 0) + sum over rows of x[row, c], in an order that depends on the
/// sizes only.
///
/// x       [rows, cols]  f32 or bf16
/// partial [parts, cols] f32, scratch: ghost::partial_sums
/// out     [cols] f32
void column_sums(const Tensor& x, const Tensor& partial, const Tensor& out, bool accumulate);

/// The second stage alone: the same over the parts of partial [parts, cols] f32.
void add_parts(const Tensor& partial, const Tensor& out, bool accumulate);

}  // namespace ghost::cuda
