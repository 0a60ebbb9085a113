#include "engine/autograd/residual_presets.h"

#include <string_view>
#include <vector>

namespace ghost {
namespace {

ResidualRule rule(std::string_view module, Role role, Keep keep) {
  return {.module = std::string(module), .role = std::string(role_name(role)), .keep = keep};
}

std::vector<ResidualRule> sketched(SketchScope scope) {
  if (scope == SketchScope::kMlpHead) {
    return {rule("*mlp*", Role::kLinearInput, Keep::kSketch),
            rule("head", Role::kLinearInput, Keep::kSketch)};
  }
  return {rule("*", Role::kLinearInput, Keep::kSketch)};
}

}  // namespace

ResidualsConfig expand_preset(ResidualsConfig config) {
  const bool is_paper = config.preset == ResidualPreset::kBasis;
  SketchScope scope = config.scope;
  if (scope == SketchScope::kPreset) {
    scope = is_paper ? SketchScope::kMlpHead : SketchScope::kAllLinear;
  }
  std::vector<ResidualRule> rules;
  const auto add = [&](Role role, Keep keep) { rules.push_back(rule("*", role, keep)); };
  // What the core of a Mamba mixer reads comes from a convolution or a norm whose input is kept.
  const auto recompute_core_inputs = [&] {
    rules.push_back(rule("*.core", Role::kAttentionQkv, Keep::kRecompute));
  };
  switch (config.preset) {
    case ResidualPreset::kNone:
    case ResidualPreset::kAuto:
      return config;
    case ResidualPreset::kBasis:
      rules = sketched(scope);
      break;
    case ResidualPreset::kBasisInt8:
    case ResidualPreset::kBasisInt8Gelu4:
      rules = sketched(scope);
      add(Role::kNormInput, Keep::kInt8);
      add(Role::kAttentionQkv, Keep::kInt8);
      add(Role::kAttentionOutput, Keep::kInt8);
      recompute_core_inputs();
      add(Role::kActivationInput,
          config.preset == ResidualPreset::kBasisInt8 ? Keep::kDerivative8 : Keep::kDerivative4);
      break;
    case ResidualPreset::kBasisRecompute:
      rules = sketched(scope);
      add(Role::kNormInput, Keep::kInt8);
      add(Role::kBlockInput, Keep::kInt8);
      add(Role::kActivationInput, Keep::kDerivative4);
      config.recompute = Recompute::kAttention;
      break;
    case ResidualPreset::kGhost:
      rules = sketched(scope);
      config.recompute = Recompute::kBlock;
      break;
  }
  rules.insert(rules.end(), config.rules.begin(), config.rules.end());
  config.rules = std::move(rules);
  config.preset = ResidualPreset::kNone;
  return config;
}

}  // namespace ghost
