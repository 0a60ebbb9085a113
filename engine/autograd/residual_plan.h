#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config/enum_names.h"

namespace ghost {

/// What a residual is to the op that keeps it. Rules choose by module and role.
enum class Role {
  kLinearInput,
  kNormInput,
  kActivationInput,
  kAttentionQkv,
  kAttentionOutput,
  kBlockInput,  // of a block that is recomputed
  kStatistic,   // means, log-sum-exps: small, always exact
  kIndex,       // tokens, targets: always exact
  kParameter,   // refers to the parameter, costs nothing
};

enum class Keep {
  kExact,
  kBF16,  // cast to bf16, back on use
  kInt8,  // 8 bits and one f32 scale a group, stochastic rounding
  kInt4,  // likewise, in 4 bits
  // An activation's derivative instead of its input, in 8 or 4 bits without scales. Where there is
  // no such derivative (other roles, swiglu) these mean kInt8 and kInt4.
  kDerivative8,
  kDerivative4,
  kRecompute,  // made again from the residuals of the op that made it, where that is cheap
  kSketch,     // a rank-R sketch instead of a linear's input
};

enum class Recompute {
  kNone,
  kCheap,      // outputs of norms and activations are never kept, but made again in backward
  kAttention,  // norm, projections and attention of each block run again, from the block's input
  kBlock,      // only the input of each block is kept; the block runs again in backward
};

template <>
struct EnumNames<Keep> {
  static constexpr EnumName<Keep> kNames[] = {
      {Keep::kExact, "exact"},
      {Keep::kBF16, "cast(bf16)"},
      {Keep::kInt8, "int8"},
      {Keep::kInt4, "int4"},
      {Keep::kDerivative8, "derivative(int8)"},
      {Keep::kDerivative4, "derivative(int4)"},
      {Keep::kRecompute, "recompute"},
      {Keep::kSketch, "sketch"},
  };
};

template <>
struct EnumNames<Recompute> {
  static constexpr EnumName<Recompute> kNames[] = {
      {Recompute::kNone, "none"},
      {Recompute::kCheap, "cheap"},
      {Recompute::kAttention, "attention"},
      {Recompute::kBlock, "block"},
  };
};

/// One line of `residuals.rules`; the last rule that matches wins.
struct ResidualRule {
  std::string module = "*";  // glob over module paths such as blocks.0.mlp.c_fc
  std::string role = "*";    // glob over role names
  Keep keep = Keep::kExact;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("module", module, "glob over module paths, as blocks.*.mlp.*");
    visit("role", role, "glob over roles, as linear_input");
    visit("keep", keep, "how the residual is kept");
  }
};

/// How a run keeps what backward needs.
struct ResidualsConfig {
  Keep keep = Keep::kExact;
  std::vector<ResidualRule> rules;
  Recompute recompute = Recompute::kNone;
  std::int64_t group = 64;  // elements that share one scale of int8 or int4

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("default", keep, "for residuals that no rule matches");
    visit("rules", rules, "module and role globs; the last match wins");
    visit("recompute", recompute,
          "cheap: norm and activation outputs; attention: up to its output; block: whole blocks");
    visit("group", group, "elements that share one scale of int8 or int4, > 0");
  }
  void validate(const std::string& prefix) const;
};

std::string_view role_name(Role role);
bool is_approximate(Keep keep);
/// Integers with a scale for each group of elements.
bool is_scaled(Keep keep);
bool is_derivative(Keep keep);
/// What stands in for a derivative where there is none; other keeps as they are.
Keep without_derivative(Keep keep);

/// Whether `text` matches `pattern`, where * stands for any run of characters and ? for one.
bool glob_match(std::string_view pattern, std::string_view text);

/// Answers for every residual how it is kept.
class ResidualPlan {
 public:
  ResidualPlan() = default;
  explicit ResidualPlan(ResidualsConfig config) : config_(std::move(config)) {}

  /// `is_cheap_output`: the tensor is the output of an op that can make it again cheaply.
  Keep keep_for(std::string_view module, Role role, bool is_cheap_output) const;
  Recompute recompute() const { return config_.recompute; }
  std::int64_t group() const { return config_.group; }

  /// The same rules inside a block that is being recomputed.
  ResidualPlan inside_block() const;

 private:
  ResidualsConfig config_;
};

}  // namespace ghost
