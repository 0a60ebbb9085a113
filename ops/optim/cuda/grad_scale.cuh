#pragma once

#include "engine/device/cuda/dtype.cuh"

namespace ghost::cuda {

/// The factor of all gradients, [1] f64 on the device: null means 1; NaN means that the update is
/// to change nothing.
__device__ __forceinline__ float grad_scale_of(const double* grad_scale) {
  return grad_scale != nullptr ? static_cast<float>(*grad_scale) : 1.0F;
}

}  // namespace ghost::cuda
