#include "ops/optim/nonfinite.h"

#include <cmath>

namespace ghost {

std::optional<NonfiniteElement> first_nonfinite(const ParameterStore& store, ParameterPart part) {
  for (const auto& parameter : store.all()) {
    const Tensor& x = part == ParameterPart::kValues ? parameter->value : parameter->grad;
    if (!x.defined() || x.device().is_dry()) {
      continue;
    }
    auto found = visit_real(x.dtype(), [&]<typename T>() -> std::optional<NonfiniteElement> {
      const T* values = x.data<T>();
      for (std::int64_t i = 0; i < x.numel(); ++i) {
        if (!std::isfinite(values[i])) {
          return NonfiniteElement{parameter->name, i, static_cast<double>(values[i])};
        }
      }
      return std::nullopt;
    });
    if (found) {
      return found;
    }
  }
  return std::nullopt;
}

}  // namespace ghost
