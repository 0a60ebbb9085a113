#include "ops/optim/optimizer_config.h"

#include "engine/core/error.h"
#include "ops/optim/optimizer.h"
#include "tests/ops/optim/small_store.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

TEST_CASE("optimizer config gives each kind its own default decay", "[optim]") {
  OptimizerConfig config;
  CHECK(config.decay() == 0.1);
  config.kind = OptimizerKind::kSgd;
  CHECK(config.decay() == 0);
  config.weight_decay = 0.3;
  CHECK(config.decay() == 0.3);
}

TEST_CASE("make_optimizer makes what the config names", "[optim]") {
  Context ctx(Device{});
  test::SmallStore small(ctx, DType::kF32, 4);
  CHECK(make_optimizer({}, ctx, small.store)->state().at(0).name == "exp_avg.weight");
  const OptimizerConfig sgd{.kind = OptimizerKind::kSgd, .momentum = 0.9};
  CHECK(make_optimizer(sgd, ctx, small.store)->state().at(0).name == "momentum.weight");
}

TEST_CASE("optimizer config refuses values out of range", "[optim]") {
  const auto message_of = [](const OptimizerConfig& config) -> std::string {
    try {
      config.validate("optimizer.");
    } catch (const ConfigError& error) {
      return error.what();
    }
    return {};
  };
  CHECK(message_of({}).empty());
  CHECK(message_of({.beta1 = 1}) == "optimizer.beta1 is 1; expected a number >= 0 and < 1");
  CHECK(message_of({.beta2 = -0.5}) == "optimizer.beta2 is -0.5; expected a number >= 0 and < 1");
  CHECK(message_of({.eps = 0}) == "optimizer.eps is 0; expected a positive number");
  CHECK(message_of({.weight_decay = -1}) == "optimizer.weight_decay is -1; expected a number >= 0");
  CHECK(message_of({.momentum = 1}) == "optimizer.momentum is 1; expected a number >= 0 and < 1");
  CHECK(message_of({.nesterov = true}) ==
        "optimizer.nesterov is true; expected false where momentum is 0");
  CHECK(message_of({.grad_clip = -1}) ==
        "optimizer.grad_clip is -1; expected a number >= 0, 0 for no clipping");
}

}  // namespace
}  // namespace ghost
