#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// Cross-entropy of logits that exist as a whole: for few classes. A language model's head and loss
/// are one op, linear_cross_entropy.
///
///   loss = mean over rows of  logsumexp(x_i) - x_i[target_i]
///
/// logits   [..., V]  f32 or f64, on the CPU
/// targets  [...]     i32, as many as rows, 0 to V - 1
/// returns  loss [1]
/// keeps    its own gradient, (softmax(x_i) - onehot(target_i)) / rows (loss_gradient)
/// throws   ghost::Error when shapes do not fit or a target is out of range
Tensor cross_entropy(Context& ctx, const Tensor& logits, const Tensor& targets);

}  // namespace ghost
