#pragma once

#include "engine/autograd/zero_blocks.h"
#include "engine/tensor/tensor.h"

namespace ghost {

// Flat buffers of one parameter group, [N] each, all of one dtype (f32 or f64).

struct AdamWUpdate {
  Tensor values;
  Tensor grads;
  Tensor exp_avg;
  Tensor exp_avg_sq;
  double grad_scale;
  double beta1;
  double beta2;
  double eps;
  double keep_fraction;  // 1 - lr * weight_decay
  double step_size;      // lr / (1 - beta1^t)
  double root_scale;     // 1 / sqrt(1 - beta2^t)
};

struct SgdUpdate {
  Tensor values;
  Tensor grads;
  Tensor average;  // of gradients; undefined without momentum
  double grad_scale;
  double lr;
  double momentum;
  double weight_decay;
  bool is_nesterov;
  const ZeroBlocks* zeros;  // of the buffer in which grads start at element `offset`
  std::int64_t offset;
};

namespace cpu {

void adamw(const AdamWUpdate& args);
void sgd(const SgdUpdate& args);

/// Sum of squares of an f32 or f64 tensor, in f64 and in an order that depends on its size only.
double sum_of_squares(const Tensor& x, const ZeroBlocks& zeros);

}  // namespace cpu
}  // namespace ghost
