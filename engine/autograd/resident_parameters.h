#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "engine/autograd/parameter.h"

namespace ghost {

/// Lays out the parameters for which `is_here` holds, as ParameterStore::materialize does for all:
/// for a process that has a part of a model. The others keep name and shape and get neither values
/// nor gradients; whatever the store does with all parameters leaves them out.
void materialize_residents(ParameterStore& store,
                           const std::function<bool(const Parameter&)>& is_here,
                           const std::shared_ptr<Allocator>& allocator, DType dtype,
                           std::optional<DType> activation_dtype = std::nullopt);

/// Whether a parameter of a store that is laid out has values in this process.
inline bool is_resident(const Parameter& parameter) { return parameter.value.defined(); }

}  // namespace ghost
