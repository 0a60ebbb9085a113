#include "engine/autograd/ema_sketch_config.h"

#include "engine/autograd/residual_plan.h"
#include "engine/core/error.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

std::string refusal(const EmaSketchConfig& config) {
  try {
    config.validate("e.");
    config.control.validate("e.control.");
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("widths of averaged sketches follow the rank and the rule", "[autograd]") {
  const EmaSketchConfig paper;
  CHECK(paper.k(2) == 5);
  CHECK(paper.s(2) == 5);
  const EmaSketchConfig tropp{.rule = SketchSizes::kTropp};
  CHECK(tropp.k(3) == 7);
  CHECK(tropp.s(3) == 15);
}

TEST_CASE("options of averaged sketches are checked together", "[autograd]") {
  CHECK(refusal({}).empty());
  CHECK(refusal({.rank = 0}) == "e.rank is 0; expected at least 1");
  CHECK(refusal({.beta = 1}) == "e.beta is 1; expected 0 or more and less than 1");
  CHECK(refusal({.seed = -1}) == "e.seed is -1; expected zero or a positive integer");
  CHECK(refusal({.mode = EmaSketchMode::kTwoQr, .rule = SketchSizes::kTropp}) ==
        "e.rule is tropp; expected paper with mode two_qr, which needs s = k");
  CHECK(refusal({.mode = EmaSketchMode::kStack, .rule = SketchSizes::kTropp, .tie = true}) ==
        "e.rule is tropp; expected paper with tie, which needs s = k");
  CHECK(refusal({.tie = true}) == "e.tie is true; expected false but for modes two_qr and stack");
  CHECK(refusal({.mode = EmaSketchMode::kTwoQr, .unbias = true}) ==
        "e.unbias is true; expected false but for modes lift and stack");
  CHECK(refusal({.truncate = true}) == "e.truncate is true; expected false but for mode tropp");
  CHECK(refusal({.mode = EmaSketchMode::kTropp, .short_batch = ShortBatch::kPad}) ==
        "e.short_batch is pad; expected drop with mode tropp");
  CHECK(refusal({.control = {.adaptive = AdaptiveRank::kError}}) ==
        "e.control.adaptive is error; expected off or loss but for mode tropp");
}

TEST_CASE("bounds of the rank's control are checked", "[autograd]") {
  const auto of = [](const RankControl& control) { return refusal({.control = control}); };
  CHECK(of({.epoch_steps = 0}) == "e.control.epoch_steps is 0; expected at least 1");
  CHECK(of({.min_rank = 0}) == "e.control.min_rank is 0; expected at least 1");
  CHECK(of({.min_rank = 3, .max_rank = 2}) == "e.control.max_rank is 2; expected min_rank or more");
  CHECK(of({.patience_up = 0}) == "e.control.patience_up is 0; expected at least 1");
  CHECK(of({.patience_down = 0}) == "e.control.patience_down is 0; expected at least 1");
  CHECK(of({.step_up = 0}) == "e.control.step_up is 0; expected at least 1");
  CHECK(of({.step_down = 0}) == "e.control.step_down is 0; expected at least 1");
  CHECK(of({.min_improvement = 1}) ==
        "e.control.min_improvement is 1; expected 0 or more and less than 1");
  CHECK(of({.error_tolerance = 0}) == "e.control.error_tolerance is 0; expected a positive number");
}

TEST_CASE("rules that keep averaged sketches are for linear inputs and have no rank",
          "[autograd]") {
  const ResidualPlan plan({.rules = {{.keep = Keep::kEmaSketch}}});
  CHECK(plan.keep_for("a", Role::kLinearInput, false) == Keep::kEmaSketch);
  CHECK(plan.keep_for("a", Role::kActivationInput, false) == Keep::kExact);
  CHECK(plan.has_ema_sketches());
  CHECK_FALSE(plan.has_sketches());
  const ResidualRule with_rank{.keep = Keep::kEmaSketch, .rank = 3};
  CHECK_THROWS_WITH(with_rank.validate("r."),
                    "r.keep is ema_sketch; expected no rank in this rule: all share "
                    "residuals.ema_sketch.rank");
  const ResidualRule other_role{.role = "norm_input", .keep = Keep::kEmaSketch};
  CHECK_THROWS_AS(other_role.validate("r."), ConfigError);
  const ResidualsConfig again{.rules = {{.keep = Keep::kEmaSketch}},
                              .recompute = Recompute::kBlock,
                              .ema_sketch = {.mode = EmaSketchMode::kTwoQr}};
  CHECK_THROWS_WITH(again.validate("r."),
                    "r.recompute is block; expected none or cheap with ema_sketch.mode two_qr");
}

}  // namespace
}  // namespace ghost
