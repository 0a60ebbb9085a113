#pragma once

#include "ops/pool2d.h"

namespace ghost {

struct Pool2dForward {
  Pooling pooling;
  Tensor x;       // [B, C, H, W]
  Tensor y;       // [B, C, H / 2, W / 2]
  Tensor places;  // as y, i32: of the largest element in its plane of x; kMax only
};

struct Pool2dBackward {
  Pooling pooling;
  Tensor places;  // [B, C, H / 2, W / 2], kMax only
  Tensor dy;      // [P, B, C, H / 2, W / 2]
  Tensor dx;      // [P, B, C, H, W]
};

namespace cpu {
void pool2d(const Pool2dForward& args);
void pool2d(const Pool2dBackward& args);
}  // namespace cpu

}  // namespace ghost
