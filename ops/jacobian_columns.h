#pragma once

#include "engine/autograd/context.h"

namespace ghost {

// A Jacobian by its columns: pullbacks of basis vectors, some at once. Neither is recorded.

/// Cotangents e_first, e_(first + 1), ... of every sample; i counts the numbers of a sample.
///
///   y[p, b, i] = 1 where i = first + p, else 0
///
/// shape   [B, ...]
/// dtype   f32, bf16 or f64
/// returns [count, B, ...]
Tensor basis_cotangents(const Context& ctx, const Shape& shape, DType dtype, std::int64_t first,
                        std::int64_t count);

/// Writes columns `first` and on of B matrices.
///
///   matrices[b, i, first + p] = rows[p, b, i]
///
/// rows     [P, B, ...]  N numbers a sample
/// matrices [B, N, N]    dtype of rows
/// throws   ghost::Error when rows do not fit
void write_columns(const Context& ctx, const Tensor& rows, std::int64_t first,
                   const Tensor& matrices);

}  // namespace ghost
