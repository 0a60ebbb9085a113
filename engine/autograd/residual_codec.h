#pragma once

#include "engine/autograd/residual_plan.h"
#include "engine/random/philox.h"
#include "engine/tensor/tensor.h"

namespace ghost {

/// A residual in a form other than its own dtype.
struct EncodedResidual {
  Keep keep = Keep::kExact;
  Shape shape;    // of the residual
  Tensor values;  // bf16, i8 or u8 an element; in 4 bits u8 [ceil(n / 2)], low half first
  Tensor scales;  // int8 and int4 only: f32, one a group of consecutive elements
  std::int64_t group = 0;
};

/// Stores x as
///
///   cast(bf16)        its upper half
///   int8, int4        integers up to 127, 7, with the scale max|x| / 127, / 7 for each group of
///                     `group` elements. Groups with max|x| < 1e-30 become zeros, groups with an
///                     infinity or NaN all NaN
///   derivative(int8)  the nearest points of the grid -27/200, ..., 0, ..., 228/200
///   derivative(int4)  of the grid -2/11, ..., 0, ..., 13/11; both hold 0 and 1 exactly. x outside
///                     of the grid is clamped; NaN is lost
///
/// The integers are rounded stochastically: E[decode(encode(x))] = x, up to 2^-17 of a step.
/// `stream` numbers the draws, 16 bits an element.
EncodedResidual encode_residual(const Tensor& x, Keep keep, std::int64_t group,
                                const RandomStream& stream);

/// Back into a tensor of `dtype`, tagged workspace.
Tensor decode_residual(const EncodedResidual& encoded, DType dtype);

}  // namespace ghost
