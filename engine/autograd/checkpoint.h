#pragma once

#include <functional>

#include "engine/autograd/context.h"

namespace ghost {

/// A part of a model from the residual stream to the residual stream.
using BlockFunction = std::function<Tensor(Context&, const Tensor&)>;

/// Runs `block` on x. Under `recompute: block` only x is kept (role block_input) and the block runs
/// again in backward, on a tape of its own with the same rules; random draws repeat. Otherwise the
/// block is recorded as it is.
/// source  Chen et al. 2016, arXiv:1604.06174
Tensor checkpoint(Context& ctx, const Tensor& x, BlockFunction block);

}  // namespace ghost
