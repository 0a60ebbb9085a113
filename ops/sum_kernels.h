#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

/// y = factor * sum of x
struct SumForward {
  Tensor x;  // [n]
  Tensor y;  // [1]
  double factor;
};

/// dx = factor * dy, the same for every element
struct SumBackward {
  Tensor dy;  // [P, 1]
  Tensor dx;  // [P, n]
  double factor;
};

namespace cpu {
void sum(const SumForward& args);
void sum(const SumBackward& args);
}  // namespace cpu

}  // namespace ghost
