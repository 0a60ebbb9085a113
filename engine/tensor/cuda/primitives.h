#pragma once

#include "engine/tensor/tensor.h"

namespace ghost::cuda {

// The twins of engine/tensor/primitives.h for tensors of a CUDA device: f32, bf16, and f64 where
// the engine itself holds numbers (norms, losses, state). All are enqueued on the device's stream.

void fill_zero(const Tensor& x);
void fill(const Tensor& x, double value);
void cast(const Tensor& destination, const Tensor& source);
void accumulate(const Tensor& destination, const Tensor& source);
void scale(const Tensor& x, double factor);

/// Between two tensors of equal size and dtype, one of them at least on a CUDA device. From the
/// host: enqueued, through pinned memory, so that the source may change at once. To the host: waits
/// for the device. Throws ghost::Error between two CUDA devices.
void copy(const Tensor& destination, const Tensor& source);

}  // namespace ghost::cuda
