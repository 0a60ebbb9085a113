#include "ops/optim/update_ranges.h"

#include "ops/optim/adamw.h"
#include "ops/optim/sgd.h"
#include "tests/ops/optim/small_store.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::values_of;

struct Store {
  Store() {
    for (const char* name : {"wte.weight", "h.0.c_fc.weight", "h.0.c_proj.weight",
                             "h.1.c_fc.weight", "h.1.c_proj.weight"}) {
      store.declare(name, {10}, Decay::kYes, {.kind = InitKind::kNormal, .std = 1});
    }
    store.declare("h.0.c_fc.bias", {3}, Decay::kNo, {.kind = InitKind::kNormal, .std = 1});
    store.materialize(ctx.allocator(), DType::kF64);
    store.initialize(1);
    for (const auto& parameter : store.all()) {
      std::fill_n(parameter->grad.data<double>(), parameter->grad.numel(), 0.5);
    }
  }
  Context ctx{Device{}};
  ParameterStore store;
};

TEST_CASE("without rules a group is one range", "[optim]") {
  const Store s;
  const auto ranges = update_ranges(s.store, {});
  REQUIRE(ranges.size() == 2);
  CHECK(ranges[0].end == 50);
  CHECK(ranges[1].group == 1);
  CHECK(ranges[1].end == 3);
}

TEST_CASE("rules cut a group into ranges and the last match wins", "[optim]") {
  const Store s;
  const auto ranges = update_ranges(
      s.store, {{.parameter = "h.*.weight", .scale = 0.5}, {.parameter = "h.1.*", .scale = 2}});
  REQUIRE(ranges.size() == 4);
  const std::vector<std::int64_t> begins{0, 10, 30, 0};
  const std::vector<std::int64_t> ends{10, 30, 50, 3};
  const std::vector<double> scales{1, 0.5, 2, 1};
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(ranges[i].begin == begins[i]);
    CHECK(ranges[i].end == ends[i]);
    CHECK(ranges[i].lr_scale == scales[i]);
  }
}

/// What one update adds to the first element of each parameter.
template <typename Make>
std::vector<double> changes(const Make& make) {
  Store s;
  std::vector<double> out;
  for (const auto& parameter : s.store.all()) {
    out.push_back(-values_of(parameter->value)[0]);
  }
  const auto optimizer = make(s);
  optimizer->step(s.ctx, s.store, {.lr = 0.01, .step = 1});
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] += values_of(s.store.all()[i]->value)[0];
  }
  return out;
}

TEST_CASE("a rule scales the learning rate of what it matches", "[optim]") {
  const std::vector<LrScale> rules{{.parameter = "h.0.c_fc.*", .scale = 0.25}};
  const auto sgd = changes([&](Store& s) {
    return std::make_unique<Sgd>(SgdOptions{.momentum = 0.9, .lr_scales = rules}, s.ctx, s.store);
  });
  CHECK(sgd[0] == Approx(-0.005).epsilon(1e-12));
  CHECK(sgd[1] == Approx(-0.00125).epsilon(1e-12));
  CHECK(sgd[2] == Approx(-0.005).epsilon(1e-12));
  CHECK(sgd[5] == Approx(-0.00125).epsilon(1e-12));
  const auto adamw = changes([&](Store& s) {
    return std::make_unique<AdamW>(AdamWOptions{.weight_decay = 0, .lr_scales = rules}, s.ctx,
                                   s.store);
  });
  CHECK(adamw[0] == Approx(-0.01).epsilon(1e-6));
  CHECK(adamw[1] == Approx(-0.0025).epsilon(1e-6));
}

TEST_CASE("a rule that matches nothing is refused with the nearest parameter", "[optim]") {
  const Store s;
  CHECK_THROWS_AS(update_ranges(s.store, {{.parameter = "nothing"}}), ConfigError);
  CHECK_THROWS_WITH(update_ranges(s.store, {{.parameter = "h.*.c_fcc.weight"}}),
                    "optimizer.lr_scales.0.parameter \"h.*.c_fcc.weight\" matches no parameter; "
                    "the nearest is h.*.c_fc.weight");
}

TEST_CASE("a learning-rate factor is a number", "[optim]") {
  CHECK_THROWS_WITH((LrScale{.scale = -1}.validate("optimizer.lr_scales.0.")),
                    "optimizer.lr_scales.0.scale is -1; expected a number >= 0");
}

}  // namespace
}  // namespace ghost
