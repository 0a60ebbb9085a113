#include "ops/rank_controller.h"

#include "engine/autograd/state_store.h"
#include "ops/ema_sketch.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

EmaSketchConfig adaptive(AdaptiveRank by) {
  EmaSketchConfig config{.rank = 2};
  config.control.adaptive = by;
  config.control.max_rank = 3;
  return config;
}

TEST_CASE("the rank goes up without improvement and down with it, within bounds", "[ops]") {
  RankController control({.max_rank = 3}, /*rank=*/2);
  CHECK_FALSE(control.observe_loss(1.0));  // the first loss is an improvement
  CHECK_FALSE(control.observe_loss(1.0));
  CHECK(control.observe_loss(0.9995));  // less than one in a thousand
  CHECK(control.rank() == 3);
  CHECK(control.generation() == 1);
  CHECK_FALSE(control.observe_loss(1.0));
  CHECK_FALSE(control.observe_loss(1.0));  // at its bound it stays
  CHECK(control.rank() == 3);
  CHECK_FALSE(control.observe_loss(0.9));
  CHECK_FALSE(control.observe_loss(0.8));
  CHECK(control.observe_loss(0.7));
  CHECK(control.rank() == 2);
}

TEST_CASE("the rank goes up while the error is large beside the gradient", "[ops]") {
  RankController control({.max_rank = 3, .error_tolerance = 0.5}, /*rank=*/2);
  CHECK_FALSE(control.observe_error(1.0, 2.0));
  CHECK(control.observe_error(1.1, 2.0));
  CHECK(control.rank() == 3);
  CHECK_FALSE(control.observe_error(9.0, 2.0));
}

TEST_CASE("a change of rank begins sketches anew and outlasts a checkpoint", "[ops]") {
  const EmaSketchConfig config = adaptive(AdaptiveRank::kLoss);
  Context ctx(Device{});
  StateStore store(ctx.allocator());
  const std::string sketch = std::string(kEmaSketchPrefix) + "mlp.1.sketch";
  store.get(sketch, {4, 5});
  CHECK_FALSE(adapt_ema_rank(store, adaptive(AdaptiveRank::kOff), {.loss = 1}));
  CHECK_FALSE(adapt_ema_rank(store, config, {.loss = 1}));
  CHECK_FALSE(adapt_ema_rank(store, config, {.loss = 1}));
  CHECK(store.find(sketch).defined());
  CHECK(adapt_ema_rank(store, config, {.loss = 1}));
  CHECK_FALSE(store.find(sketch).defined());
  CHECK(RankController::from(store, config).rank() == 3);
  CHECK(RankController::from(store, config).generation() == 1);
  reset_ema_sketches(store, config);
  CHECK(RankController::from(store, config).rank() == 3);
  CHECK(RankController::from(store, config).generation() == 2);

  const EmaSketchConfig by_error = adaptive(AdaptiveRank::kError);
  StateStore other(ctx.allocator());
  CHECK(adapt_ema_rank(other, by_error, {.loss = 1, .error = 3, .grad_norm = 1}));
}

TEST_CASE("an epoch is the mean of its steps and outlasts a checkpoint", "[ops]") {
  EmaSketchConfig config = adaptive(AdaptiveRank::kLoss);
  config.control.epoch_steps = 2;
  config.control.patience_up = 1;
  Context ctx(Device{});
  StateStore store(ctx.allocator());
  CHECK_FALSE(observe_ema_step(store, adaptive(AdaptiveRank::kOff), {.loss = 1}));
  CHECK_FALSE(observe_ema_step(store, config, {.loss = 1}));
  CHECK_FALSE(observe_ema_step(store, config, {.loss = 3}));  // mean 2, the best so far
  CHECK_FALSE(observe_ema_step(store, config, {.loss = 0.5}));
  CHECK(store.find("ema_sketch.epoch").data<double>()[0] == 1);
  CHECK(observe_ema_step(store, config, {.loss = 3.5}));  // mean 2: no better
  CHECK(RankController::from(store, config).rank() == 3);
}

}  // namespace
}  // namespace ghost
