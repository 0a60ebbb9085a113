#include "engine/autograd/ema_sketch_config.h"

#include "engine/config/check_range.h"

namespace ghost {

void RankControl::validate(const std::string& prefix) const {
  check_range(epoch_steps >= 1, prefix + "epoch_steps", epoch_steps, "at least 1");
  check_range(min_rank >= 1, prefix + "min_rank", min_rank, "at least 1");
  check_range(max_rank >= min_rank, prefix + "max_rank", max_rank, "min_rank or more");
  check_range(patience_up >= 1, prefix + "patience_up", patience_up, "at least 1");
  check_range(patience_down >= 1, prefix + "patience_down", patience_down, "at least 1");
  check_range(step_up >= 1, prefix + "step_up", step_up, "at least 1");
  check_range(step_down >= 1, prefix + "step_down", step_down, "at least 1");
  check_range(min_improvement >= 0 && min_improvement < 1, prefix + "min_improvement",
              min_improvement, "0 or more and less than 1");
  check_range(error_tolerance > 0, prefix + "error_tolerance", error_tolerance,
              "a positive number");
}

void EmaSketchConfig::validate(const std::string& prefix) const {
  check_range(rank >= 1, prefix + "rank", rank, "at least 1");
  check_range(beta >= 0 && beta < 1, prefix + "beta", beta, "0 or more and less than 1");
  check_range(seed >= 0, prefix + "seed", seed, "zero or a positive integer");
  const bool is_paper = rule == SketchSizes::kPaper;
  check_range(mode != EmaSketchMode::kTwoQr || is_paper, prefix + "rule", rule,
              "paper with mode two_qr, which needs s = k");
  check_range(!tie || is_paper, prefix + "rule", rule, "paper with tie, which needs s = k");
  check_range(!tie || mode == EmaSketchMode::kTwoQr || mode == EmaSketchMode::kStack,
              prefix + "tie", tie, "false but for modes two_qr and stack");
  check_range(!unbias || mode == EmaSketchMode::kLift || mode == EmaSketchMode::kStack,
              prefix + "unbias", unbias, "false but for modes lift and stack");
  check_range(!truncate || mode == EmaSketchMode::kTropp, prefix + "truncate", truncate,
              "false but for mode tropp");
  check_range(short_batch == ShortBatch::kDrop || mode != EmaSketchMode::kTropp,
              prefix + "short_batch", short_batch, "drop with mode tropp");
  check_range(control.adaptive != AdaptiveRank::kError || mode == EmaSketchMode::kTropp,
              prefix + "control.adaptive", control.adaptive, "off or loss but for mode tropp");
}

}  // namespace ghost
