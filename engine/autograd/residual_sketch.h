#pragma once

#include <cstdint>
#include <memory>

#include "engine/autograd/sketch_config.h"
#include "engine/tensor/tensor.h"

namespace ghost {

/// What is kept of a residual instead of its elements, made and read by ops (ops/row_sketch.h); to
/// the store it is an object with a size.
class ResidualSketch {
 public:
  ResidualSketch() = default;
  virtual ~ResidualSketch() = default;
  ResidualSketch(const ResidualSketch&) = delete;
  ResidualSketch& operator=(const ResidualSketch&) = delete;

  virtual std::int64_t bytes() const = 0;
};

}  // namespace ghost
