#pragma once

#include "engine/autograd/context.h"

namespace ghost {

struct PoissonLossOptions {
  std::int64_t boundary_points = 0;  // the last points of a batch
  double boundary_weight = 1;
};

/// How far u is from solving -(Laplacian of u) = f with u = g on the boundary.
///
///   loss = mean over inner points of (L + f)^2 + weight * mean over boundary points of (u_0 - g)^2
///
/// u        [2 + d, N, 1]  values, first derivatives and Laplacian L, as taylor_activation gives
///                         them; f32 or f64, on the CPU
/// targets  [N]            f at inner points, g at the last, which are on the boundary; dtype of u
/// returns  loss [1]
/// keeps    its own gradient (loss_gradient)
/// throws   ghost::Error when shapes do not fit, or there are no inner points
Tensor poisson_loss(Context& ctx, const Tensor& u, const Tensor& targets,
                    const PoissonLossOptions& options);

}  // namespace ghost
