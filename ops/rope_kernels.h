#pragma once

#include "engine/tensor/tensor.h"
#include "ops/rope.h"

namespace ghost {

struct Rope {
  Tensor x;  // [n, T, heads * head_dim]
  Tensor y;  // as x
  std::int64_t seq_len;
  std::int64_t rotated_dim;  // channels of a head that turn
  RopeOptions options;
  bool is_inverse;  // turn by the negative angles
};

namespace cpu {
void rope(const Rope& args);
}  // namespace cpu

namespace cuda {
void rope(const Rope& args);
}  // namespace cuda

}  // namespace ghost
