#pragma once

#include "engine/random/philox.h"
#include "engine/tensor/tensor.h"

namespace ghost {

/// y = x * factor where the element's word has upper 24 bits >= threshold, else 0. Forward and
/// backward are the same map.
struct Dropout {
  RandomStream stream;
  std::uint32_t threshold;  // rate * 2^24
  double factor;            // 1 / (1 - rate)
  std::int64_t basis;       // P tensors one after the other share one mask
  Tensor x;                 // [P, n]
  Tensor y;                 // [P, n]
};

namespace cpu {
void dropout(const Dropout& args);
}  // namespace cpu

namespace cuda {
void dropout(const Dropout& args);
}  // namespace cuda

}  // namespace ghost
