#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/autograd/parameter.h"
#include "ops/optim/optimizer_config.h"

namespace ghost {

/// Neighbouring elements of one group's flat buffers that are updated with one learning rate.
struct UpdateRange {
  std::size_t group = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;
  double lr_scale = 1;

  Tensor of(const Tensor& flat) const { return flat.slice(begin, end); }
};

/// Every element of a store that is laid out, in order: a group is one range but for the parameters
/// that `rules` single out, and frozen ones, whose rate is 0. Throws ghost::ConfigError for a rule
/// that matches no parameter.
std::vector<UpdateRange> update_ranges(const ParameterStore& store,
                                       const std::vector<LrScale>& rules);

}  // namespace ghost
