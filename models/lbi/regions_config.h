#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/config/enum_names.h"
#include "ops/suffix_products.h"

namespace ghost {

/// Which positions a state is pooled from and which it conditions.
enum class RegionsVariant {
  kPaper,        // all, all: later tokens reach earlier logits
  kPrefixLm,     // a prefix, all; scored from the prefix's last token on
  kAnchor,       // one position, all from there on
  kChunked,      // chunk c, chunk c + 1; one state a chunk
  kMultiAnchor,  // the last position of chunk c, from there to the next one
};

template <>
struct EnumNames<RegionsVariant> {
  static constexpr EnumName<RegionsVariant> kNames[] = {
      {RegionsVariant::kPaper, "paper"},
      {RegionsVariant::kPrefixLm, "prefix_lm"},
      {RegionsVariant::kAnchor, "anchor"},
      {RegionsVariant::kChunked, "chunked"},
      {RegionsVariant::kMultiAnchor, "multi_anchor"}};
};

/// How gradients come about. All give the same numbers up to rounding.
enum class RegionsBackward {
  kTape,           // one tape through the whole model
  kScan,           // region Jacobians, suffix products, then every region on its own
  kSerialAdjoint,  // from region to region, a vector of state_dim numbers at each boundary
  kHybrid,         // serial through the last `serial_regions`, a scan below
};

template <>
struct EnumNames<RegionsBackward> {
  static constexpr EnumName<RegionsBackward> kNames[] = {
      {RegionsBackward::kTape, "tape"},
      {RegionsBackward::kScan, "scan"},
      {RegionsBackward::kSerialAdjoint, "serial_adjoint"},
      {RegionsBackward::kHybrid, "hybrid"}};
};

/// How ranks that share the regions get at the products of each other's pullbacks.
enum class SuffixExchange {
  kAllGather,  // all matrices to all, every rank forms its product
  kScan,       // ceil(log2) rounds of products and messages at distance 1, 2, 4, ...
};

template <>
struct EnumNames<SuffixExchange> {
  static constexpr EnumName<SuffixExchange> kNames[] = {{SuffixExchange::kAllGather, "all_gather"},
                                                        {SuffixExchange::kScan, "scan"}};
};

/// What is done to every state, to see how much hangs on it.
enum class StateAblation {
  kNone,
  kZeroAll,  // states are zero: the last region alone, on the canvas and its decoder's constant
  kNoise,    // plus noise * N(0, 1); evaluation only
  kMask,     // every number kept with probability 1/2; evaluation only
};

template <>
struct EnumNames<StateAblation> {
  static constexpr EnumName<StateAblation> kNames[] = {{StateAblation::kNone, "none"},
                                                       {StateAblation::kZeroAll, "zero_all"},
                                                       {StateAblation::kNoise, "noise"},
                                                       {StateAblation::kMask, "mask"}};
};

/// The `model.regions` section: a model whose blocks are cut into regions that talk through small
/// states only (latent bounded interfaces).
struct RegionsConfig {
  std::int64_t layers_per_region = 2;
  std::int64_t state_dim = 32;
  std::int64_t hidden = 0;
  RegionsVariant variant = RegionsVariant::kPaper;
  std::int64_t prefix = 0;
  std::int64_t anchor = 0;
  std::int64_t chunk = 0;
  double update_scale = 0.5;
  RegionsBackward backward = RegionsBackward::kTape;
  std::optional<std::int64_t> serial_regions;
  SuffixMethod suffix = SuffixMethod::kChain;
  SuffixExchange exchange = SuffixExchange::kAllGather;
  std::int64_t columns = 0;
  StateAblation ablation = StateAblation::kNone;
  double noise = 1;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("layers_per_region", layers_per_region, "blocks a region, > 0; the last may have fewer");
    visit("state_dim", state_dim, "numbers in a state, > 1");
    visit("hidden", hidden, "hidden width of the interface MLPs; 0: channels");
    visit("variant", variant, "positions that states are pooled from and condition");
    visit("prefix", prefix, "of prefix_lm: tokens in the prefix, > 0");
    visit("anchor", anchor, "of anchor: the position that is pooled, > 0");
    visit("chunk", chunk, "of chunked and multi_anchor: tokens a chunk, > 0");
    visit("update_scale", update_scale,
          "a region's change of the state counts tanh of it, at first");
    visit("backward", backward, "how gradients come about");
    visit("serial_regions", serial_regions,
          "of backward: hybrid: regions below the last, >= 0; unset: as the cost model says from "
          "measured times, in one process all");
    visit("suffix", suffix, "how the products of region Jacobians are formed");
    visit("exchange", exchange, "of parallel.region_ranks: how these products go between ranks");
    visit("columns", columns, "of a region Jacobian at once; 0: all");
    visit("ablation", ablation, "what is done to states; noise and mask are for evaluation");
    visit("noise", noise, "of ablation: noise: standard deviation, >= 0");
  }
  void validate(const std::string& prefix) const;
  void validate_for(std::int64_t layers, const std::string& prefix) const;
};

/// Regions that so many layers are cut into.
std::int64_t num_regions(const RegionsConfig& config, std::int64_t layers);

}  // namespace ghost
