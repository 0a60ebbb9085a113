#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// Euclidean norm of all gradients together, sqrt(sum g^2) over every group.
///
/// Summed in f64 over blocks of a fixed size: the same bits for any number of threads. Not finite
/// exactly when some gradient is not (first_nonfinite names it), f64 overflow aside. 0 on a dry
/// device. Gradients must be complete (ParameterStore::finish_gradients).
double gradient_norm(const Context& ctx, const ParameterStore& store);

/// What every gradient is multiplied by so that their norm does not exceed `max_norm`:
///
///   min(1, max_norm / (norm + 1e-6)),   1 when max_norm is 0 (no clipping)
///
/// throws  ghost::Error when the norm is not finite
/// source  Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063; 1e-6 as in PyTorch's clip_grad_norm_
double clip_factor(double norm, double max_norm);

}  // namespace ghost
