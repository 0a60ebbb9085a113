#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

/// y = a + b
struct Add {
  Tensor a;  // [n]
  Tensor b;  // [n]
  Tensor y;  // [n]
};

/// y = x * factor
struct MulScalar {
  Tensor x;  // [n]
  Tensor y;  // [n]
  double factor;
};

namespace cpu {
void arithmetic(const Add& args);
void arithmetic(const MulScalar& args);
}  // namespace cpu

namespace cuda {
void arithmetic(const Add& args);
void arithmetic(const MulScalar& args);
}  // namespace cuda

}  // namespace ghost
