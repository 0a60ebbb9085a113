#pragma once

#include "engine/autograd/context.h"
#include "engine/tensor/primitives.h"

namespace ghost {

/// x itself where it has that dtype, else a copy in it.
inline Tensor in_dtype(const Context& ctx, const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) {
    return x;
  }
  Tensor y = ctx.empty(x.shape(), dtype);
  cast(y, x);
  return y;
}

}  // namespace ghost
