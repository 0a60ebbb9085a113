#pragma once

#include "engine/tensor/tensor.h"

namespace ghost::cpu {

/// The factor of all gradients: undefined means 1.
inline double grad_scale_of(const Tensor& grad_scale) {
  return grad_scale.defined() ? *grad_scale.data<double>() : 1.0;
}

}  // namespace ghost::cpu
