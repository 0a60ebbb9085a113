#include "ops/rank_controller.h"

#include <algorithm>
#include <limits>

#include "engine/autograd/state_store.h"
#include "engine/tensor/host.h"
#include "ops/ema_sketch.h"

namespace ghost {
namespace {

const std::string kControlName = "ema_sketch.control";
const std::string kEpochName = "ema_sketch.epoch";

}  // namespace

RankController::RankController(const RankControl& control, std::int64_t rank)
    : control_(control), rank_(rank), best_(std::numeric_limits<double>::infinity()) {}

bool RankController::move_to(std::int64_t rank) {
  if (rank == rank_) {
    return false;
  }
  rank_ = rank;
  ++generation_;
  return true;
}

bool RankController::observe_loss(double loss) {
  if (loss < best_ * (1 - control_.min_improvement)) {
    best_ = loss;
    ++good_;
    bad_ = 0;
  } else {
    ++bad_;
    good_ = 0;
  }
  if (bad_ >= control_.patience_up) {
    bad_ = 0;
    return move_to(std::min(control_.max_rank, rank_ + control_.step_up));
  }
  if (good_ >= control_.patience_down) {
    good_ = 0;
    return move_to(std::max(control_.min_rank, rank_ - control_.step_down));
  }
  return false;
}

bool RankController::observe_error(double error, double grad_norm) {
  return error > control_.error_tolerance * grad_norm &&
         move_to(std::min(control_.max_rank, rank_ + control_.step_up));
}

void RankController::save(StateStore& store) const {
  const Tensor state = store.get_on_host(kControlName, {5}, MemoryTag::kSketches);
  if (double* place = state.data<double>()) {
    place[0] = static_cast<double>(rank_);
    place[1] = static_cast<double>(generation_);
    place[2] = best_;
    place[3] = static_cast<double>(good_);
    place[4] = static_cast<double>(bad_);
  }
}

RankController RankController::from(const StateStore& store, const EmaSketchConfig& config) {
  RankController out(config.control, config.rank);
  const Tensor state = store.find(kControlName);
  if (state.defined() && state.raw() != nullptr) {
    const Tensor host = on_host(state);  // a checkpoint's is still on the device
    const double* place = host.data<double>();
    out.rank_ = static_cast<std::int64_t>(place[0]);
    out.generation_ = static_cast<std::int64_t>(place[1]);
    out.best_ = place[2];
    out.good_ = static_cast<std::int64_t>(place[3]);
    out.bad_ = static_cast<std::int64_t>(place[4]);
  }
  return out;
}

bool adapt_ema_rank(StateStore& store, const EmaSketchConfig& config, const EpochFacts& facts) {
  if (config.control.adaptive == AdaptiveRank::kOff) {
    return false;
  }
  RankController controller = RankController::from(store, config);
  const bool has_changed = config.control.adaptive == AdaptiveRank::kLoss
                               ? controller.observe_loss(facts.loss)
                               : controller.observe_error(facts.error, facts.grad_norm);
  if (has_changed) {
    store.forget(std::string(kEmaSketchPrefix));
  }
  controller.save(store);
  return has_changed;
}

bool observe_ema_step(StateStore& store, const EmaSketchConfig& config, const EpochFacts& step) {
  if (config.control.adaptive == AdaptiveRank::kOff) {
    return false;
  }
  const Tensor state = store.get_on_host(kEpochName, {4}, MemoryTag::kSketches);
  double* sums = state.data<double>();  // steps, loss, error, gradient norm
  sums[0] += 1;
  sums[1] += step.loss;
  sums[2] += step.error;
  sums[3] += step.grad_norm;
  const double steps = sums[0];
  if (steps < static_cast<double>(config.control.epoch_steps)) {
    return false;
  }
  const EpochFacts mean{
      .loss = sums[1] / steps, .error = sums[2] / steps, .grad_norm = sums[3] / steps};
  std::fill_n(sums, 4, 0.0);
  return adapt_ema_rank(store, config, mean);
}

void reset_ema_sketches(StateStore& store, const EmaSketchConfig& config) {
  RankController controller = RankController::from(store, config);
  controller.begin_anew();
  store.forget(std::string(kEmaSketchPrefix));
  controller.save(store);
}

}  // namespace ghost
