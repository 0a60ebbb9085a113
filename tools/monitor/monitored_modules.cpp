#include "tools/monitor/monitored_modules.h"

#include <algorithm>

#include "engine/autograd/residual_plan.h"

namespace ghost {
namespace {

constexpr std::string_view kLinear = "linear";
constexpr std::string_view kHead = "linear_cross_entropy";

}  // namespace

bool has_outputs(const Node& node) { return node.op().name() == kLinear; }

MonitoredModules::Place MonitoredModules::place_of(const Tensor& weight) {
  return {weight.storage()->serial(), weight.offset()};
}

MonitoredModules::MonitoredModules(const Forward& forward, const ParameterStore& parameters,
                                   std::string_view glob) {
  std::map<Place, Parameter*> weights;
  for (const auto& parameter : parameters.all()) {
    if (parameter->used().defined()) {
      weights.emplace(place_of(parameter->used()), parameter.get());
    }
  }
  std::vector<std::string> others;
  Context dry(Device{.is_dry = true});
  dry.attach_observer([&](const Node& node, const Tensors& /*outputs*/) {
    if (node.op().name() != kLinear && node.op().name() != kHead) {
      return;
    }
    const std::string name(node.module());
    if (!glob_match(glob, name)) {
      others.push_back(name);
      return;
    }
    const Tensor& x = node.input(0);
    const Tensor& weight = node.input(1);
    const auto [at, is_new] =
        index_.emplace(place_of(weight), static_cast<std::int64_t>(modules_.size()));
    if (is_new) {
      const auto found = weights.find(at->first);
      Parameter* parameter = found == weights.end() ? nullptr : found->second;
      modules_.push_back({.name = unused_name(name, parameter),
                          .inputs = weight.dim(1),
                          .outputs = weight.dim(0),
                          .weight = parameter});
    }
    modules_[static_cast<std::size_t>(at->second)].rows += x.numel() / x.dim(-1);
  });
  forward(dry);
  if (modules_.empty()) {
    fail<ConfigError>("monitor.modules is \"{}\"; expected a glob that matches a linear, as {}",
                      glob, others.empty() ? "there is in other models" : others.front());
  }
}

/// Two linears in one module are told apart by their parameters.
std::string MonitoredModules::unused_name(const std::string& name, const Parameter* weight) const {
  const bool is_used =
      std::any_of(modules_.begin(), modules_.end(),
                  [&](const MonitoredModule& module) { return module.name == name; });
  return !is_used            ? name
         : weight != nullptr ? weight->name
                             : fmt::format("{}#{}", name, modules_.size());
}

std::int64_t MonitoredModules::find(const Node& node) const {
  if (node.op().name() != kLinear && node.op().name() != kHead) {
    return -1;
  }
  const auto found = index_.find(place_of(node.input(1)));
  return found == index_.end() ? -1 : found->second;
}

}  // namespace ghost
