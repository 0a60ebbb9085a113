#include "models/module_parameters.h"

#include <cmath>

namespace ghost {

Parameter* ModuleParameters::linear(std::string_view name, std::int64_t out, std::int64_t in,
                                    double scale) {
  return weight(name, {out, in}, uniform_init(scale / std::sqrt(static_cast<double>(in))));
}

Parameter* ModuleParameters::gain(std::string_view name, std::int64_t channels) {
  return undecayed(name, {channels}, {.kind = InitKind::kOnes});
}

Parameter* ModuleParameters::weight(std::string_view name, const Shape& shape, const Init& init) {
  return &store_.declare(fmt::format("{}{}", prefix_, name), shape, Decay::kYes, init, precision_);
}

Parameter* ModuleParameters::undecayed(std::string_view name, const Shape& shape,
                                       const Init& init) {
  return &store_.declare(fmt::format("{}{}", prefix_, name), shape,
                         decay_all_ ? Decay::kYes : Decay::kNo, init, precision_);
}

Parameter* ModuleParameters::steering(std::string_view name, const Shape& shape, const Init& init) {
  return &store_.declare(fmt::format("{}{}", prefix_, name), shape,
                         decay_all_ ? Decay::kYes : Decay::kNo, init, Precision::kValue);
}

Init uniform_init(double bound) {
  return {.kind = InitKind::kUniform, .low = -bound, .high = bound};
}

Init constant_init(double value) {
  return {.kind = InitKind::kUniform, .low = value, .high = value};
}

}  // namespace ghost
