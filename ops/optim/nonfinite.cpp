#include "ops/optim/nonfinite.h"

#include <cmath>

#include "engine/tensor/host.h"

namespace ghost {

std::optional<NonfiniteElement> first_nonfinite(const Tensor& x) {
  if (!x.defined() || x.device().is_dry || !is_floating(x.dtype())) {
    return std::nullopt;
  }
  const Tensor host = on_host(x);
  return visit_floating(x.dtype(), [&]<typename T>() -> std::optional<NonfiniteElement> {
    const T* values = host.data<T>();
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      const double value = to_double(values[i]);
      if (!std::isfinite(value)) {
        return NonfiniteElement{.parameter = {}, .index = i, .value = value};
      }
    }
    return std::nullopt;
  });
}

std::optional<NonfiniteElement> first_nonfinite(const ParameterStore& store, ParameterPart part) {
  for (const auto& parameter : store.all()) {
    auto found =
        first_nonfinite(part == ParameterPart::kValues ? parameter->value : parameter->grad);
    if (found) {
      found->parameter = parameter->name;
      return found;
    }
  }
  return std::nullopt;
}

}  // namespace ghost
