#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// Rows of a table, one for each token.
///
///   y[..., c] = table[tokens[...], c]
///
/// tokens  [B, T] (or any shape of rank 1 to 5) i32, 0 <= token < V
/// table   [V, C]  f32, bf16 or f64
/// returns y [B, T, C], dtype of table
/// keeps   tokens (index)
/// throws  ghost::Error when a token is out of range (position counts through the whole batch), or
///         on a wrong dtype or rank
Tensor embedding(Context& ctx, const Tensor& tokens, const Tensor& table);

/// Adds learned positions to a residual stream.
///
///   y[b, t, c] = x[b, t, c] + table[start + t, c]
///
/// x       [B, T, C]     f32, bf16 or f64
/// table   [max_T, C]    dtype of x
/// start   >= 0, position of the first row of x
/// returns y, shape and dtype of x
/// keeps   nothing
/// throws  ghost::Error when C or dtype differs, or start + T > max_T
Tensor position_embedding(Context& ctx, const Tensor& x, const Tensor& table,
                          std::int64_t start = 0);

}  // namespace ghost
