#include "ops/optim/update_ranges.h"

#include <algorithm>

#include "engine/autograd/residual_plan.h"
#include "engine/config/nearest_key.h"

namespace ghost {
namespace {

void check_matches(const ParameterStore& store, const std::vector<LrScale>& rules) {
  std::vector<std::string> names;
  for (const auto& parameter : store.all()) {
    names.push_back(path_pattern(parameter->name));
  }
  for (std::size_t i = 0; i < rules.size(); ++i) {
    bool is_matched = false;
    for (const auto& parameter : store.all()) {
      is_matched = is_matched || glob_match(rules[i].parameter, parameter->name);
    }
    if (!is_matched) {
      fail<ConfigError>(
          "optimizer.lr_scales.{}.parameter \"{}\" matches no parameter; the nearest "
          "is {}",
          i, rules[i].parameter, nearest_text(rules[i].parameter, names));
    }
  }
}

double lr_scale_of(const Parameter& parameter, const std::vector<LrScale>& rules) {
  if (parameter.is_frozen) {
    return 0;  // of the weight decay too
  }
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    if (glob_match(rule->parameter, parameter.name)) {
      return rule->scale;
    }
  }
  return 1;
}

}  // namespace

std::vector<UpdateRange> update_ranges(const ParameterStore& store,
                                       const std::vector<LrScale>& rules) {
  check_matches(store, rules);
  std::vector<UpdateRange> ranges;
  for (std::size_t group = 0; group < store.groups().size(); ++group) {
    std::int64_t begin = 0;
    for (const Parameter* parameter : store.groups()[group].members) {
      const double scale = lr_scale_of(*parameter, rules);
      const std::int64_t end = begin + parameter->shape.numel();
      if (begin > 0 && ranges.back().lr_scale == scale) {
        ranges.back().end = end;
      } else {
        ranges.push_back({.group = group, .begin = begin, .end = end, .lr_scale = scale});
      }
      begin = end;
    }
  }
  return ranges;
}

}  // namespace ghost
