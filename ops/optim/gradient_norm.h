#pragma once

#include <functional>

#include "engine/autograd/context.h"

namespace ghost {

/// Adds to a sum [1] f64 those of other processes, in place, on all of them.
using SumOverRanks = std::function<void(const Tensor& sum)>;

/// What a step reports and what its update needs, [1] f64 each. They are views of one tensor on the
/// device: nobody waits for them before the update has been enqueued.
struct StepNumbers {
  Tensor all;  // [3]
  Tensor loss() const { return all.slice(0, 1); }
  Tensor norm() const { return all.slice(1, 2); }
  Tensor factor() const { return all.slice(2, 3); }
};

/// loss    mean of `losses` [M], one a micro-step, in f64 and in their order
/// norm    Euclidean norm of all gradients together, sqrt(sum g^2) over every group. Summed in f64
///         over blocks of a fixed size: the same bits for any number of threads. Not finite exactly
///         when some gradient is not (first_nonfinite names it), f64 overflow aside
/// factor  what every gradient is multiplied by so that their norm does not exceed `max_norm`:
///
///           min(1, max_norm / (norm + 1e-6)),   1 when max_norm is 0 (no clipping)
///
///         NaN where loss or norm is not finite: an update with it changes nothing
///
/// Gradients must be complete (ParameterStore::finish_gradients). Zeros on a dry device. Where
/// other processes have parameters of the same model, `over_ranks` adds their sums of g^2.
/// source  Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063; 1e-6 as in PyTorch's clip_grad_norm_
StepNumbers step_numbers(const Context& ctx, const ParameterStore& store, const Tensor& losses,
                         double max_norm, const SumOverRanks& over_ranks = {});

}  // namespace ghost
