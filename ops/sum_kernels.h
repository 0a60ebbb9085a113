#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

/// y = factor * sum of x
struct SumForward {
  Tensor x;  // [n]
  Tensor y;  // [1] statistic_dtype of x
  double factor;
  Tensor partial;  // partial_sums of one column, f64
};

/// dx = factor * dy, the same for every element
struct SumBackward {
  Tensor dy;  // [P, 1] statistic_dtype of dx
  Tensor dx;  // [P, n]
  double factor;
};

namespace cpu {
void sum(const SumForward& args);
void sum(const SumBackward& args);
}  // namespace cpu

namespace cuda {
void sum(const SumForward& args);
void sum(const SumBackward& args);
}  // namespace cuda

}  // namespace ghost
