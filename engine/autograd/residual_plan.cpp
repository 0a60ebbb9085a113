#include "engine/autograd/residual_plan.h"

#include "engine/config/check_range.h"
#include "engine/core/error.h"

namespace ghost {

void ResidualsConfig::validate(const std::string& prefix) const {
  check_range(group > 0, prefix + "group", group, "a positive number of elements");
  constexpr std::string_view kKeeps =
      "exact, cast(bf16), int8, int4, derivative(int8), derivative(int4) or recompute (sketches "
      "are "
      "not available in this version)";
  check_range(keep != Keep::kSketch, prefix + "default", keep, kKeeps);
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const std::string rule = fmt::format("{}rules.{}.", prefix, i);
    check_range(rules[i].keep != Keep::kSketch, rule + "keep", rules[i].keep, kKeeps);
    bool is_known = false;
    for (int role = 0; role <= static_cast<int>(Role::kParameter); ++role) {
      is_known = is_known || glob_match(rules[i].role, role_name(static_cast<Role>(role)));
    }
    check_range(is_known, rule + "role", rules[i].role,
                "a glob that matches a role, as linear_input");
    check_range(!is_derivative(rules[i].keep) ||
                    glob_match(rules[i].role, role_name(Role::kActivationInput)),
                rule + "role", rules[i].role,
                "activation_input, the role that has a derivative to keep");
  }
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
    case Role::kParameter:
      return "parameter";
  }
  return {};
}

bool is_approximate(Keep keep) { return keep != Keep::kExact && keep != Keep::kRecompute; }

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

Keep ResidualPlan::keep_for(std::string_view module, Role role, bool is_cheap_output) const {
  if (role == Role::kStatistic || role == Role::kIndex || role == Role::kParameter) {
    return Keep::kExact;
  }
  const auto available = [&](Keep keep) {
    if (keep == Keep::kRecompute && !is_cheap_output) {
      return Keep::kExact;
    }
    return role == Role::kActivationInput ? keep : without_derivative(keep);
  };
  for (auto rule = config_.rules.rbegin(); rule != config_.rules.rend(); ++rule) {
    if (glob_match(rule->module, module) && glob_match(rule->role, role_name(role))) {
      return available(rule->keep);
    }
  }
  if (config_.recompute == Recompute::kCheap && is_cheap_output) {
    return Keep::kRecompute;
  }
  return available(config_.keep);
}

ResidualPlan ResidualPlan::inside_block() const {
  ResidualPlan inner = *this;
  inner.config_.recompute = Recompute::kNone;
  return inner;
}

}  // namespace ghost
