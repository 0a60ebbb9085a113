#pragma once

#include <functional>

#include "engine/autograd/context.h"

namespace ghost {

/// A part of a model with one input and one output, as a block of the residual stream. It may run
/// after the function that made it has returned: it holds what it uses by value.
using BlockFunction = std::function<Tensor(Context&, const Tensor&)>;

/// Runs `block` on x. Where the plan's `recompute` is `level` only x is kept (role block_input) and
/// the block runs again in backward, on a tape of its own with the same rules; random draws repeat.
/// Otherwise the block is recorded as it is.
/// source  Chen et al. 2016, arXiv:1604.06174
Tensor checkpoint(Context& ctx, const Tensor& x, BlockFunction block,
                  Recompute level = Recompute::kBlock);

}  // namespace ghost
