#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/autograd/parameter.h"

namespace ghost {

enum class ParameterPart { kValues, kGrads };

/// An element that is infinite or not a number.
struct NonfiniteElement {
  std::string parameter;  // empty for other tensors
  std::int64_t index;     // into the flattened tensor
  double value;
};

/// The first of a tensor of any device; nothing when all are finite, or on a dry device.
std::optional<NonfiniteElement> first_nonfinite(const Tensor& x);

/// The first parameter, in order of declaration, with a value or gradient that is not finite; for
/// error messages. Nothing when all are finite, or on a dry device.
std::optional<NonfiniteElement> first_nonfinite(const ParameterStore& store, ParameterPart part);

}  // namespace ghost
