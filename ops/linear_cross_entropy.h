#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// What counts in a cross-entropy.
struct CrossEntropyOptions {
  std::int32_t ignore_index = -1;  // rows with this target carry no loss and no gradient
  std::int64_t vocab_size = 0;     // rows of the weight from here on are padding; 0: none are
  bool is_weight_shared = false;   // with other ops: its gradient is not summed by factors
};

/// Output head and loss in one op, by pieces (a chunk of rows, a strip of the vocabulary): logits
/// [rows, V] never exist as a whole.
///
///   loss = mean over rows with target != ignore_index of  logsumexp(x_i W^T) - (x_i W^T)[target_i]
///
/// with W without its padding rows, whose gradient is 0.
///
/// x        [..., C]  f32, bf16 or f64
/// weight   [V, C]    dtype of x
/// targets  [...]     i32, as many as rows of x
/// returns  loss [1], f32 where x is bf16
/// keeps    x (linear_input), weight, targets (index), log-sum-exp of each row (statistic);
///          backward makes the logits again. Where x is kept as a sketch: dx and the sketch of the
///          logits' gradient (loss_gradient), for a loss cotangent of 1
/// throws   ghost::Error when shapes do not fit, a target is out of range, or none counts. A GPU
///          does not wait to look at targets: there the last two make the loss NaN
Tensor linear_cross_entropy(Context& ctx, const Tensor& x, const Tensor& weight,
                            const Tensor& targets, const CrossEntropyOptions& options = {});

}  // namespace ghost
