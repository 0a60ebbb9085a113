#pragma once

#include <string>
#include <string_view>

#include "engine/autograd/parameter.h"

namespace ghost {

/// Declares the parameters of one module below its name. What is not the weight of a product
/// carries no weight decay, unless all parameters do.
class ModuleParameters {
 public:
  ModuleParameters(ParameterStore& store, std::string prefix, bool decay_all,
                   Precision precision = Precision::kActivation)
      : store_(store), prefix_(std::move(prefix)), decay_all_(decay_all), precision_(precision) {}

  /// For a linear without bias: [out, in], uniform within +-scale / sqrt(in).
  Parameter* linear(std::string_view name, std::int64_t out, std::int64_t in, double scale = 1);
  /// Of a norm: ones.
  Parameter* gain(std::string_view name, std::int64_t channels);
  /// Any other weight, with decay.
  Parameter* weight(std::string_view name, const Shape& shape, const Init& init);
  /// Biases and the like: without decay.
  Parameter* undecayed(std::string_view name, const Shape& shape, const Init& init);
  /// Whatever steers a state: without decay, handed to ops as it is, never in bf16.
  Parameter* steering(std::string_view name, const Shape& shape, const Init& init);

 private:
  ParameterStore& store_;
  std::string prefix_;
  bool decay_all_;
  Precision precision_;
};

/// Uniform within +-bound.
Init uniform_init(double bound);
Init constant_init(double value);

}  // namespace ghost
