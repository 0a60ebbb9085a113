#pragma once

#include "engine/autograd/context.h"

namespace ghost {

enum class Pooling { kMax, kAverage };

/// The largest element, or the mean, of each window of 2 x 2 of each channel; windows do not
/// overlap, and an odd last row or column is left out.
///
/// x       [B, C, H, W]  f32 or f64, on the CPU; H and W of 2 at least
/// returns y [B, C, H / 2, W / 2]
/// keeps   for kMax the place of each window's first largest element (index); nothing for kAverage
/// throws  ghost::Error when x has another rank or is too small
Tensor pool2d(Context& ctx, const Tensor& x, Pooling pooling);

}  // namespace ghost
