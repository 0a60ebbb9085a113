#pragma once

#include <cstdint>
#include <string>

#include "engine/config/enum_names.h"

namespace ghost {

/// How a linear's input is rebuilt from its sketches.
enum class EmaSketchMode {
  kLift,   // projected on the probes Upsilon: c Q R^-T X^T
  kStack,  // the same with all probes of all three sketches
  kTwoQr,  // operators between the layers' sketches, applied one after the other to the batch
  kTropp,  // two-sided sketches: maps on the features as well
};

/// Widths of the sketches from the target rank r.
enum class SketchSizes {
  kPaper,  // k = s = 2r + 1
  kTropp,  // k = 2r + 1, s = 2k + 1
};

/// What is done with a batch of fewer rows than the first.
enum class ShortBatch {
  kDrop,         // no update, exact gradient
  kPad,          // takes the first rows of the probes, as if padded with zeros
  kPadRescaled,  // the same times sqrt(n / rows)
};

/// What gradients are while the averages of a new state fill, for 3 / (1 - beta) updates.
enum class EmaWarmup { kNone, kExact, kSkip };

/// What moves the rank.
enum class AdaptiveRank {
  kOff,
  kLoss,   // up when the loss stays, down when it falls
  kError,  // of mode tropp: up while the measured error is large beside the gradient
};

template <>
struct EnumNames<EmaSketchMode> {
  static constexpr EnumName<EmaSketchMode> kNames[] = {{EmaSketchMode::kLift, "lift"},
                                                       {EmaSketchMode::kStack, "stack"},
                                                       {EmaSketchMode::kTwoQr, "two_qr"},
                                                       {EmaSketchMode::kTropp, "tropp"}};
};
template <>
struct EnumNames<SketchSizes> {
  static constexpr EnumName<SketchSizes> kNames[] = {{SketchSizes::kPaper, "paper"},
                                                     {SketchSizes::kTropp, "tropp"}};
};
template <>
struct EnumNames<ShortBatch> {
  static constexpr EnumName<ShortBatch> kNames[] = {{ShortBatch::kDrop, "drop"},
                                                    {ShortBatch::kPad, "pad"},
                                                    {ShortBatch::kPadRescaled, "pad_rescaled"}};
};
template <>
struct EnumNames<EmaWarmup> {
  static constexpr EnumName<EmaWarmup> kNames[] = {
      {EmaWarmup::kNone, "none"}, {EmaWarmup::kExact, "exact"}, {EmaWarmup::kSkip, "skip"}};
};
template <>
struct EnumNames<AdaptiveRank> {
  static constexpr EnumName<AdaptiveRank> kNames[] = {
      {AdaptiveRank::kOff, "off"}, {AdaptiveRank::kLoss, "loss"}, {AdaptiveRank::kError, "error"}};
};

/// How the rank moves between epochs; the rule is ours (docs/ema_sketch.md).
struct RankControl {
  AdaptiveRank adaptive = AdaptiveRank::kOff;
  std::int64_t epoch_steps = 100;
  std::int64_t min_rank = 1;
  std::int64_t max_rank = 16;
  std::int64_t patience_up = 2;
  std::int64_t patience_down = 3;
  std::int64_t step_up = 1;
  std::int64_t step_down = 1;
  double min_improvement = 1e-3;
  double error_tolerance = 1;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("adaptive", adaptive,
          "off; loss: by the epochs' losses; error: of mode tropp, by theirs");
    visit("epoch_steps", epoch_steps, "steps that count as one epoch, >= 1");
    visit("min_rank", min_rank, "least rank, >= 1");
    visit("max_rank", max_rank, "largest rank, >= min_rank");
    visit("patience_up", patience_up, "epochs without improvement before the rank goes up, >= 1");
    visit("patience_down", patience_down, "epochs of improvement before it goes down, >= 1");
    visit("step_up", step_up, "by how much it goes up, >= 1");
    visit("step_down", step_down, "by how much it goes down, >= 1");
    visit("min_improvement", min_improvement, "share of the best loss that counts, 0 to 1");
    visit("error_tolerance", error_tolerance, "of error: largest error over gradient norm, > 0");
  }
  void validate(const std::string& prefix) const;
};

/// Options of every `keep: ema_sketch`.
/// source  Antil and Verma 2025, arXiv:2510.00442, as far as it is known
struct EmaSketchConfig {
  EmaSketchMode mode = EmaSketchMode::kLift;
  std::int64_t rank = 2;
  SketchSizes rule = SketchSizes::kPaper;
  double beta = 0;
  bool tie = false;
  bool unbias = false;
  bool truncate = false;
  ShortBatch short_batch = ShortBatch::kDrop;
  EmaWarmup warmup = EmaWarmup::kExact;
  std::int64_t seed = 0;
  RankControl control;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("mode", mode, "how an input is rebuilt: lift, stack, two_qr or tropp");
    visit("rank", rank, "target rank r, >= 1");
    visit("rule", rule, "paper: k = s = 2r + 1; tropp: k = 2r + 1, s = 2k + 1");
    visit("beta", beta, "factor of the moving average in [0, 1); 0: this batch alone");
    visit("tie", tie, "of two_qr and stack: Phi = Upsilon");
    visit("unbias", unbias, "of lift and stack: times rows / probes");
    visit("truncate", truncate, "of tropp: cut what is rebuilt to rank r");
    visit("short_batch", short_batch, "of fewer rows than the first: drop, pad or pad_rescaled");
    visit("warmup", warmup, "with beta > 0, for 3 / (1 - beta) updates: none, exact or skip");
    visit("seed", seed, "of the probes, >= 0");
    visit("control", control, "");
  }
  void validate(const std::string& prefix) const;

  /// k and s for a target rank.
  std::int64_t k(std::int64_t for_rank) const { return 2 * for_rank + 1; }
  std::int64_t s(std::int64_t for_rank) const {
    return rule == SketchSizes::kPaper ? k(for_rank) : 2 * k(for_rank) + 1;
  }
};

}  // namespace ghost
