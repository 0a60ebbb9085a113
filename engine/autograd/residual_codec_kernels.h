#pragma once

#include "engine/autograd/residual_codec.h"

namespace ghost {

/// Groups whose largest magnitude is smaller are kept as zeros.
inline constexpr float kSmallestScaled = 1e-30F;

/// Codes lowest, ..., highest stand for code * step; a group's step is its scale.
struct CodeGrid {
  float lowest;
  float highest;
  float steps_per_one;  // derivatives only
};

/// The grid of an integer form; throws ghost::Error for others.
CodeGrid grid_of(Keep keep);

/// Whether two codes share a byte.
bool is_packed(Keep keep);

namespace cuda {

/// Fills values and scales (where there are any) of `out` with the integer form of x, f32 or bf16.
/// Codes and scales are those of the CPU, bit for bit.
void encode_residual(const Tensor& x, const RandomStream& stream, const EncodedResidual& out);

/// Fills `out`, f32 or bf16.
void decode_residual(const EncodedResidual& encoded, const Tensor& out);

}  // namespace cuda
}  // namespace ghost
