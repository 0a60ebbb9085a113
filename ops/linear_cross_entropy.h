#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// Output head and loss in one op, by chunks of rows: logits [rows, V] never exist as a whole.
///
///   loss = mean over rows with target != ignore_index of  logsumexp(x_i W^T) - (x_i W^T)[target_i]
///
/// x        [..., C]  f32 or f64
/// weight   [V, C]    dtype of x
/// targets  [...]     i32, as many as rows of x; ignore_index rows carry no loss and no gradient
/// returns  loss [1]
/// keeps    x (linear_input), weight, targets (index), log-sum-exp of each row (statistic);
///          backward makes the logits of each chunk again
/// throws   ghost::Error when shapes do not fit, a target is out of range, or none counts
Tensor linear_cross_entropy(Context& ctx, const Tensor& x, const Tensor& weight,
                            const Tensor& targets, std::int32_t ignore_index = -1);

}  // namespace ghost
