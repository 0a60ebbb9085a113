#pragma once

#include "engine/autograd/residual_plan.h"
#include "engine/random/philox.h"
#include "engine/tensor/tensor.h"

namespace ghost {

/// A residual in a form other than its own dtype.
struct EncodedResidual {
  Keep keep = Keep::kExact;
  Tensor values;  // bf16 or i8, the shape of the residual
  Tensor scales;  // int8 only: f32, one a group of consecutive elements
  std::int64_t group = 0;
};

/// Stores x as bf16, or as int8 with the scale max|x| / 127 for each group of `group` elements and
/// stochastic rounding: E[decode(encode(x))] = x. Groups with max|x| < 1e-30 become zeros, groups
/// with an infinity or NaN all NaN. `stream` numbers the rounding draws.
EncodedResidual encode_residual(const Tensor& x, Keep keep, std::int64_t group,
                                const RandomStream& stream);

/// Back into a tensor of `dtype`, tagged workspace.
Tensor decode_residual(const EncodedResidual& encoded, DType dtype);

}  // namespace ghost
