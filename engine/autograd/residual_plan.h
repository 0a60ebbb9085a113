#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/autograd/ema_sketch_config.h"
#include "engine/autograd/sketch_config.h"
#include "engine/config/enum_names.h"

namespace ghost {

/// What a residual is to the op that keeps it. Rules choose by module and role.
enum class Role {
  kLinearInput,
  kNormInput,
  kActivationInput,
  kAttentionQkv,
  kAttentionOutput,
  kBlockInput,    // of a block that is recomputed
  kStatistic,     // means, log-sum-exps: small, always exact
  kIndex,         // tokens, targets: always exact
  kLossGradient,  // what a loss keeps of its own gradient: always exact
  kParameter,     // refers to the parameter, costs nothing
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
  kEmaSketch,  // three sketches of a linear's input, averaged over steps
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
      {Keep::kEmaSketch, "ema_sketch"},
  };
};

/// Named plans; docs/basis.md has their bytes.
enum class ResidualPreset {
  kNone,
  kAuto,            // the fastest exact plan that fits into memory_budget
  kBasis,           // sketches for the linears of the MLPs and the head, as the paper
  kBasisInt8,       // sketches for all linears, all else in 8 bits
  kBasisInt8Gelu4,  // the same with 4 bits for the activations' derivatives
  kBasisRecompute,  // and attention computed again from the block's input
  kGhost,           // blocks computed again, sketches for all linears
};

/// Which linears a preset sketches.
enum class SketchScope { kPreset, kMlpHead, kAllLinear };

template <>
struct EnumNames<ResidualPreset> {
  static constexpr EnumName<ResidualPreset> kNames[] = {
      {ResidualPreset::kNone, "none"},
      {ResidualPreset::kAuto, "auto"},
      {ResidualPreset::kBasis, "basis"},
      {ResidualPreset::kBasisInt8, "basis+int8"},
      {ResidualPreset::kBasisInt8Gelu4, "basis+int8+gelu4"},
      {ResidualPreset::kBasisRecompute, "basis+recompute"},
      {ResidualPreset::kGhost, "ghost"},
  };
};

template <>
struct EnumNames<SketchScope> {
  static constexpr EnumName<SketchScope> kNames[] = {{SketchScope::kPreset, "preset"},
                                                     {SketchScope::kMlpHead, "mlp_head"},
                                                     {SketchScope::kAllLinear, "all_linear"}};
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
  std::optional<std::int64_t> rank;  // of a sketch; unset: as in `sketch`
  std::optional<double> rank_fraction;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("module", module, "glob over module paths, as blocks.*.mlp.*");
    visit("role", role, "glob over roles, as linear_input");
    visit("keep", keep, "how the residual is kept; sketch and ema_sketch are for linear_input");
    visit("rank", rank, "rows of a sketch, instead of residuals.sketch.rank");
    visit("rank_fraction", rank_fraction, "the same as a share of the rows");
  }
  bool matches(std::string_view module_path, Role of) const;
  void validate(const std::string& prefix) const;
};

/// How a run keeps what backward needs.
struct ResidualsConfig {
  ResidualPreset preset = ResidualPreset::kNone;
  SketchScope scope = SketchScope::kPreset;
  std::string memory_budget;
  bool allow_approximate = false;
  Keep keep = Keep::kExact;
  std::vector<ResidualRule> rules;
  Recompute recompute = Recompute::kNone;
  std::int64_t group = 128;  // elements that share one scale of int8 or int4
  SketchConfig sketch;
  EmaSketchConfig ema_sketch;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("preset", preset, "a named plan; rules here go before its rules");
    visit("scope", scope, "linears that a preset sketches; preset: basis mlp_head, others all");
    visit("memory_budget", memory_budget, "of preset auto: bytes of a step, as 2 GiB");
    visit("allow_approximate", allow_approximate, "auto may choose plans with sketches or 8 bits");
    visit("default", keep, "for residuals that no rule matches");
    visit("rules", rules, "module and role globs; the last match wins");
    visit("recompute", recompute,
          "cheap: norm and activation outputs; attention: up to its output; block: whole blocks");
    visit("group", group, "elements that share one scale of int8 or int4, > 0");
    visit("sketch", sketch, "");
    visit("ema_sketch", ema_sketch, "");
  }
  void validate(const std::string& prefix) const;

  /// Whether any rule here keeps residuals like that; a preset's rules do not count.
  bool has_rule(Keep kept) const;
};

inline constexpr int kNumRoles = static_cast<int>(Role::kParameter) + 1;
std::string_view role_name(Role role);
bool is_approximate(Keep keep);
/// What only a linear's input can be kept as.
bool is_sketch(Keep keep);
/// Integers with a scale for each group of elements.
bool is_scaled(Keep keep);
bool is_derivative(Keep keep);
/// What stands in for a derivative where there is none; other keeps as they are.
Keep without_derivative(Keep keep);

/// Whether `text` matches `pattern`, where * stands for any run of characters and ? for one.
bool glob_match(std::string_view pattern, std::string_view text);
/// A dotted path with `*` for its numbers, as a rule would have it: blocks.3.mlp -> blocks.*.mlp.
std::string path_pattern(std::string_view path);

/// Answers for every residual how it is kept.
class ResidualPlan {
 public:
  ResidualPlan() = default;
  /// A preset in `config` is written out; auto must have been resolved.
  explicit ResidualPlan(ResidualsConfig config);
  const ResidualsConfig& config() const { return config_; }
  /// Whether any rule keeps sketches of the step, or averaged ones.
  bool has_sketches() const { return config_.has_rule(Keep::kSketch); }
  bool has_ema_sketches() const { return config_.has_rule(Keep::kEmaSketch); }

  /// `is_cheap_output`: the tensor is the output of an op that can make it again cheaply.
  Keep keep_for(std::string_view module, Role role, bool is_cheap_output) const;
  /// Options of the sketch where keep_for says kSketch: a linear's input.
  SketchConfig sketch_for(std::string_view module) const;
  /// Share of the run that is done, 0 to 1: rank schedules follow it.
  double progress() const { return progress_; }
  void set_progress(double progress) { progress_ = progress; }
  Recompute recompute() const { return config_.recompute; }
  std::int64_t group() const { return config_.group; }

  /// The same rules inside a block that is being recomputed.
  ResidualPlan inside_block() const;

 private:
  const ResidualRule* rule_for(std::string_view module, Role role) const;

  ResidualsConfig config_;
  double progress_ = 0;
};

}  // namespace ghost
