#pragma once

#include "engine/autograd/context.h"
#include "ops/linear_kernels.h"

namespace ghost {

/// Runs one of the products of a dense layer, LinearForward and the like, where the context is: for
/// all ops that are made of them.
template <typename Args>
void launch_linear(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::linear(args); }, [&] { cuda::linear(args); });
}

}  // namespace ghost
