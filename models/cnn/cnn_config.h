#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/config/enum_names.h"
#include "models/mlp/dense_config.h"
#include "ops/pool2d.h"

namespace ghost {

template <>
struct EnumNames<Pooling> {
  static constexpr EnumName<Pooling> kNames[] = {{Pooling::kMax, "max"},
                                                 {Pooling::kAverage, "average"}};
};

/// A small convolutional network: 3 x 3 convolutions with ReLU and pooling behind each, then dense
/// layers.
struct CnnConfig {
  std::vector<std::int64_t> channels = {32, 64, 128};
  std::int64_t kernel = 3;
  Pooling pooling = Pooling::kMax;
  DenseConfig dense{.widths = {512, 512}, .activation = DenseActivation::kRelu};

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("channels", channels, "outputs of the convolutions; behind each: relu, pooling by 2");
    visit("kernel", kernel, "side of the convolutions' windows, odd");
    visit("pooling", pooling, "max | average, of 2 x 2");
    dense.each_field(visit);
  }
  void validate(const std::string& prefix) const;
};

}  // namespace ghost
