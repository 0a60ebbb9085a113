#include "engine/autograd/residual_plan.h"

#include <algorithm>

#include "engine/autograd/residual_presets.h"
#include "engine/config/byte_size.h"
#include "engine/config/check_range.h"
#include "engine/core/error.h"

namespace ghost {

bool ResidualRule::matches(std::string_view module_path, Role of) const {
  // Only a linear's input can be a sketch: a rule for all roles means that one.
  return glob_match(module, module_path) && glob_match(role, role_name(of)) &&
         (!is_sketch(keep) || of == Role::kLinearInput);
}

void ResidualRule::validate(const std::string& prefix) const {
  bool is_known = false;
  for (int i = 0; i < kNumRoles; ++i) {
    is_known = is_known || glob_match(role, role_name(static_cast<Role>(i)));
  }
  check_range(is_known, prefix + "role", role, "a glob that matches a role, as linear_input");
  if (is_sketch(keep)) {
    check_range(glob_match(role, role_name(Role::kLinearInput)), prefix + "role", role,
                "linear_input, the role that can be kept as a sketch");
  }
  check_range(!is_derivative(keep) || glob_match(role, role_name(Role::kActivationInput)),
              prefix + "role", role, "activation_input, the role that has a derivative to keep");
  check_range(keep != Keep::kEmaSketch || (!rank.has_value() && !rank_fraction.has_value()),
              prefix + "keep", keep, "no rank in this rule: all share residuals.ema_sketch.rank");
  check_range(!rank.has_value() || *rank >= 1, prefix + "rank", rank.value_or(1), "at least 1");
  const double fraction = rank_fraction.value_or(1);
  check_range(fraction > 0 && fraction <= 1, prefix + "rank_fraction", fraction,
              "more than 0 and at most 1");
}

void ResidualsConfig::validate(const std::string& prefix) const {
  const bool is_auto = preset == ResidualPreset::kAuto;
  check_range(!is_auto || !memory_budget.empty(), prefix + "preset", preset,
              "memory_budget beside it, as 2 GiB");
  check_range(memory_budget.empty() || parse_byte_size(memory_budget).has_value(),
              prefix + "memory_budget", memory_budget, "a number of bytes, as 2 GiB or 800 MB");
  check_range(is_auto || memory_budget.empty(), prefix + "memory_budget", memory_budget,
              "preset auto beside it");
  check_range(group > 0, prefix + "group", group, "a positive number of elements");
  check_range(!is_sketch(keep), prefix + "default", keep,
              "exact, cast(bf16), int8, int4 or recompute; sketches are for rules or presets");
  // Operators lead from layer to layer in the order of the forward pass.
  check_range(!has_rule(Keep::kEmaSketch) || ema_sketch.mode != EmaSketchMode::kTwoQr ||
                  recompute == Recompute::kNone || recompute == Recompute::kCheap,
              prefix + "recompute", recompute, "none or cheap with ema_sketch.mode two_qr");
}

std::string_view role_name(Role role) {
  switch (role) {
    case Role::kLinearInput:
      return "linear_input";
    case Role::kNormInput:
      return "norm_input";
    case Role::kActivationInput:
      return "activation_input";
    case Role::kAttentionQkv:
      return "attention_qkv";
    case Role::kAttentionOutput:
      return "attention_output";
    case Role::kBlockInput:
      return "block_input";
    case Role::kStatistic:
      return "statistic";
    case Role::kIndex:
      return "index";
    case Role::kLossGradient:
      return "loss_gradient";
    case Role::kParameter:
      return "parameter";
  }
  return {};
}

bool is_approximate(Keep keep) { return keep != Keep::kExact && keep != Keep::kRecompute; }

bool is_sketch(Keep keep) { return keep == Keep::kSketch || keep == Keep::kEmaSketch; }

bool is_scaled(Keep keep) { return keep == Keep::kInt8 || keep == Keep::kInt4; }

bool is_derivative(Keep keep) { return keep == Keep::kDerivative8 || keep == Keep::kDerivative4; }

Keep without_derivative(Keep keep) {
  return keep == Keep::kDerivative8 ? Keep::kInt8 : keep == Keep::kDerivative4 ? Keep::kInt4 : keep;
}

bool glob_match(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;  // last * seen, and where its match began
  std::size_t mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

std::string path_pattern(std::string_view path) {
  std::string out;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('.', begin), path.size());
    const std::string_view word = path.substr(begin, end - begin);
    const bool is_number = !word.empty() && word.find_first_not_of("0123456789") == word.npos;
    out.append(out.empty() ? "" : ".").append(is_number ? "*" : word);
    begin = end + 1;
  }
  return out;
}

ResidualPlan::ResidualPlan(ResidualsConfig config) : config_(expand_preset(std::move(config))) {}

bool ResidualsConfig::has_rule(Keep kept) const {
  return std::any_of(rules.begin(), rules.end(),
                     [kept](const ResidualRule& rule) { return rule.keep == kept; });
}

const ResidualRule* ResidualPlan::rule_for(std::string_view module, Role role) const {
  for (auto rule = config_.rules.rbegin(); rule != config_.rules.rend(); ++rule) {
    if (rule->matches(module, role)) {
      return &*rule;
    }
  }
  return nullptr;
}

Keep ResidualPlan::keep_for(std::string_view module, Role role, bool is_cheap_output) const {
  if (role == Role::kStatistic || role == Role::kIndex || role == Role::kLossGradient ||
      role == Role::kParameter) {
    return Keep::kExact;
  }
  const auto available = [&](Keep keep) {
    if (keep == Keep::kRecompute && !is_cheap_output) {
      return Keep::kExact;
    }
    return role == Role::kActivationInput ? keep : without_derivative(keep);
  };
  if (const ResidualRule* rule = rule_for(module, role)) {
    return available(rule->keep);
  }
  if (config_.recompute == Recompute::kCheap && is_cheap_output) {
    return Keep::kRecompute;
  }
  return available(config_.keep);
}

SketchConfig ResidualPlan::sketch_for(std::string_view module) const {
  SketchConfig sketch = config_.sketch;
  const ResidualRule* rule = rule_for(module, Role::kLinearInput);
  if (rule != nullptr && rule->rank.has_value()) {
    sketch.rank = *rule->rank;
    sketch.rank_fraction.reset();
  }
  if (rule != nullptr && rule->rank_fraction.has_value()) {
    sketch.rank_fraction = rule->rank_fraction;
  }
  return sketch;
}

ResidualPlan ResidualPlan::inside_block() const {
  ResidualPlan inner = *this;
  inner.config_.recompute = Recompute::kNone;
  return inner;
}

}  // namespace ghost
