#pragma once

#include <span>

#include "engine/autograd/context.h"

namespace ghost {

/// Cuts the last dimension into parts, where one projection serves several readers.
///
///   y_i[..., c] = x[..., o_i + c],   o_i = sum of the widths before i
///
/// x       [..., C]  f32, bf16 or f64
/// widths  > 0 each, C in all
/// returns y_i [..., widths_i], dtype of x
/// keeps   nothing
/// throws  ghost::Error when the widths do not add up to C
Tensors split(Context& ctx, const Tensor& x, std::span<const std::int64_t> widths);

}  // namespace ghost
