#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

// What the tape and the residual store need of a device without knowing any op. All work on whole
// tensors, in place, and do nothing on a dry device. On a GPU they are enqueued, and bf16 goes
// wherever f32 does.

/// Sets every byte to zero.
void fill_zero(const Tensor& x);
/// Sets every element (f32, f64) to `value`.
void fill(const Tensor& x, double value);
/// destination = source; equal dtype and element count. Either may lie on the CPU while the other
/// lies on a GPU: what the host wrote or reads is then staged through pinned memory, and a copy to
/// the host waits for the device.
void copy(const Tensor& destination, const Tensor& source);
/// destination = source with a change of dtype between f32, f64 and bf16 (round to nearest even).
void cast(const Tensor& destination, const Tensor& source);
/// destination += source; of one floating dtype, or f32 and bf16; equal element count.
void accumulate(const Tensor& destination, const Tensor& source);
/// x *= factor; f32 or f64.
void scale(const Tensor& x, double factor);
/// The single element of an f32 or f64 tensor; 0 on a dry device. Waits for a GPU.
double item(const Tensor& x);

}  // namespace ghost
