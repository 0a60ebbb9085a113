#pragma once

#include <cstdint>

#include "engine/autograd/ema_sketch_config.h"

namespace ghost {

class StateStore;

/// Moves the rank of averaged sketches between epochs. With the epochs' losses m:
///
///   m < best (1 - min_improvement):  best = m, good += 1, bad = 0;   else bad += 1, good = 0
///   bad  >= patience_up:    rank up by step_up,     at most max_rank;  bad = 0
///   good >= patience_down:  rank down by step_down, at least min_rank; good = 0
///
/// The rule is ours: of the paper's only its ingredients are known (docs/ema_sketch.md).
class RankController {
 public:
  RankController(const RankControl& control, std::int64_t rank);

  /// Whether the rank has changed: sketches and probes then begin anew.
  bool observe_loss(double loss);
  /// By the measured error of what is rebuilt: up by step_up while error > error_tolerance *
  /// grad_norm, never down.
  /// source  Tropp et al. 2019, arXiv:1902.08651, section 6; Muthukumar et al. 2021
  bool observe_error(double error, double grad_norm);

  std::int64_t rank() const { return rank_; }
  /// How often sketches have begun anew: part of the probes' names.
  std::int64_t generation() const { return generation_; }
  /// Another generation without another rank.
  void begin_anew() { ++generation_; }

  /// Everything it remembers, in a store's tensor; as it was there, or new.
  void save(StateStore& store) const;
  static RankController from(const StateStore& store, const EmaSketchConfig& config);

 private:
  bool move_to(std::int64_t rank);

  RankControl control_;
  std::int64_t rank_;
  std::int64_t generation_ = 0;
  double best_;
  std::int64_t good_ = 0;
  std::int64_t bad_ = 0;
};

/// What the control looks at once an epoch: means over its steps.
struct EpochFacts {
  double loss = 0;
  double error = 0;  // of adaptive: error, see ema_sketch_error
  double grad_norm = 0;
};

/// After every step of a run: takes the mean over `epoch_steps` of them, which the store remembers,
/// and then adapts. Returns whether sketches have begun anew.
bool observe_ema_step(StateStore& store, const EmaSketchConfig& config, const EpochFacts& step);

/// At the end of an epoch: moves the rank if `control` says so, and then begins all sketches of the
/// store anew. Returns whether it did.
bool adapt_ema_rank(StateStore& store, const EmaSketchConfig& config, const EpochFacts& facts);

/// Begins all sketches of the store anew, with other probes.
void reset_ema_sketches(StateStore& store, const EmaSketchConfig& config);

}  // namespace ghost
