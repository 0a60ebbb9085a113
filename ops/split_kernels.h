#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

struct Split {
  Tensor x;       // [rows, C]
  Tensors parts;  // [rows, width] each
};

/// The inverse: parts into x.
struct Join {
  Tensors parts;  // [rows, width] each
  Tensor x;       // [rows, C]
};

namespace cpu {
void split(const Split& args);
void split(const Join& args);
}  // namespace cpu

namespace cuda {
void split(const Split& args);
void split(const Join& args);
}  // namespace cuda

}  // namespace ghost
