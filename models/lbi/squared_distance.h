#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

/// Sum of squared differences of two tensors of equal size, f32, bf16 or f64.
double squared_distance(const Tensor& a, const Tensor& b);

}  // namespace ghost
