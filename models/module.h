#pragma once

#include <string_view>

#include "engine/autograd/context.h"

namespace ghost {

/// Runs `body` as the submodule of that name.
template <typename Body>
auto in_module(Context& ctx, std::string_view name, Body&& body) {
  const Context::Scope scope(ctx, name);
  return body();
}

/// A parameter that a module may have been built without: undefined where it was.
inline Tensor use_or_none(Context& ctx, Parameter* parameter) {
  return parameter == nullptr ? Tensor{} : ctx.use(*parameter);
}

}  // namespace ghost
