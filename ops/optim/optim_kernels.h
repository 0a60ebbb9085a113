#pragma once

#include <cstdint>

#include "engine/autograd/zero_blocks.h"
#include "engine/tensor/tensor.h"

namespace ghost {

// Flat buffers of one parameter group, [N] each, all of one dtype (f32 or f64), or a range of them
// that begins at any element. `grad_scale` is
// [1] f64 beside them: it multiplies every gradient as it is read, undefined means 1, and where it
// is NaN the call changes nothing. `working` is the copy that ops are handed in another dtype
// (bf16): it is written together with the values; undefined means there is none.

struct AdamWUpdate {
  Tensor values;
  Tensor grads;
  Tensor exp_avg;
  Tensor exp_avg_sq;
  Tensor working;
  Tensor grad_scale;
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
  Tensor working;
  Tensor grad_scale;
  double lr;
  double momentum;
  double weight_decay;
  bool is_nesterov;
  const ZeroBlocks* zeros;  // of the buffer in which grads start at element `offset`
  std::int64_t offset;
};

/// Blocks whose sums the GPU adds up in a second pass.
inline constexpr std::int64_t kSumOfSquaresBlocks = 1024;

/// sum = sum of x^2 in f64 and in an order that depends on the size of x only.
struct SumOfSquares {
  Tensor x;                 // f32 or f64
  const ZeroBlocks* zeros;  // of x
  Tensor partial;           // [kSumOfSquaresBlocks] f64, scratch; undefined on a CPU
  Tensor sum;               // [1] f64
};

/// What a step reports and what its update needs, from what its backward passes left.
struct StepNumbersArgs {
  Tensor losses;  // [M] f32 or f64, of the micro-steps
  Tensor sums;    // [G] f64, of squares, one a parameter group
  double max_norm;
  Tensor numbers;  // [3] f64: loss, norm, factor as in StepNumbers
};

namespace cpu {

void adamw(const AdamWUpdate& args);
void sgd(const SgdUpdate& args);
void sum_of_squares(const SumOfSquares& args);
void step_numbers(const StepNumbersArgs& args);

}  // namespace cpu

namespace cuda {

void adamw(const AdamWUpdate& args);
void sgd(const SgdUpdate& args);
void sum_of_squares(const SumOfSquares& args);
void step_numbers(const StepNumbersArgs& args);

}  // namespace cuda
}  // namespace ghost
