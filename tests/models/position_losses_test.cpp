#include "models/lbi/position_losses.h"

#include <cmath>
#include <numeric>

#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"
#include "tests/support/tiny_lbi_model.h"

namespace ghost {
namespace {

using test::tiny_layers;
using test::tiny_regions;
using test::TinyLbiModel;

constexpr double kRounding = 1e-12;

double mean_from(const std::vector<double>& losses, std::int64_t seq_len, std::int64_t first) {
  double sum = 0;
  std::int64_t count = 0;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    if (static_cast<std::int64_t>(i) % seq_len >= first) {
      sum += losses[i];
      ++count;
    }
  }
  return sum / static_cast<double>(count);
}

TEST_CASE("the losses of positions average to the loss", "[models]") {
  for (const auto& [name, make] : tiny_layers()) {
    for (const RegionsConfig& config : tiny_regions()) {
      INFO(name << ", " << enum_name(config.variant));
      TinyLbiModel tiny(config, make());
      const auto losses = position_losses(tiny.ctx, tiny.model, tiny.tokens, tiny.targets);
      REQUIRE(losses.size() == 14);
      CHECK(mean_from(losses, 7, training_slots(config, 7).first_scored) ==
            Approx(tiny.loss()).epsilon(kRounding));
    }
  }
}

/// Sequence b of a batch up to `length` tokens, [1, length].
Tensor beginning(const Tensor& tokens, std::int64_t b, std::int64_t length) {
  return tokens.slice(b, b + 1).reshape({tokens.dim(1)}).slice(0, length).reshape({1, length});
}

TEST_CASE("states of the text so far give the loss of the text so far", "[models]") {
  for (const auto& [name, make] : tiny_layers()) {
    INFO(name);
    TinyLbiModel tiny(tiny_regions()[0], make());
    REQUIRE(tiny.model.config().variant == RegionsVariant::kPaper);
    const auto each = refreshed_losses(tiny.ctx, tiny.model, tiny.tokens, tiny.targets, 1);
    const auto every_third = refreshed_losses(tiny.ctx, tiny.model, tiny.tokens, tiny.targets, 3);
    for (std::int64_t i = 0; i < 14; ++i) {
      const std::int64_t b = i / 7;
      const std::int64_t t = i % 7;
      const auto at = static_cast<std::size_t>(i);
      // As a generator sees it: nothing behind t exists, and all of it is pooled.
      const auto prefix = position_losses(tiny.ctx, tiny.model, beginning(tiny.tokens, b, t + 1),
                                          beginning(tiny.targets, b, t + 1));
      CHECK(each[at] == Approx(prefix.back()).epsilon(kRounding));
      const bool has_just_refreshed = t % 3 == 2;
      CHECK(std::isnan(every_third[at]) == (t < 2));
      if (t >= 2) {
        CHECK((std::abs(every_third[at] - each[at]) < kRounding) == has_just_refreshed);
      }
    }
  }
}

TEST_CASE("states that are refreshed do not see what they score", "[models]") {
  TinyLbiModel tiny(tiny_regions()[0], tiny_layers()[0].make());
  const auto before = refreshed_losses(tiny.ctx, tiny.model, tiny.tokens, tiny.targets, 2);
  tiny.tokens.data<std::int32_t>()[5] = (tiny.tokens.data<std::int32_t>()[5] + 1) % 11;
  const auto after = refreshed_losses(tiny.ctx, tiny.model, tiny.tokens, tiny.targets, 2);
  for (std::size_t t = 1; t < 7; ++t) {
    INFO(t);
    CHECK((before[t] == after[t]) == (t < 5));
  }
}

// The ablation draws the same numbers for both texts, so that only the token tells them apart.
TEST_CASE("noise on states is no effect of a token", "[models]") {
  RegionsConfig config = tiny_regions()[2];
  REQUIRE(config.variant == RegionsVariant::kAnchor);
  config.ablation = StateAblation::kNoise;
  TinyLbiModel tiny(config, tiny_layers()[0].make());
  const auto changes = logit_changes(tiny.ctx, tiny.model, tiny.tokens, 5);
  CHECK(std::accumulate(changes.begin(), changes.begin() + 5, 0.0) == 0);
  CHECK(changes[5] > 0);
}

TEST_CASE("only the paper's variant sees the future, by its states", "[models]") {
  for (RegionsConfig config : tiny_regions()) {
    CHECK(sees_future(config) == (config.variant == RegionsVariant::kPaper));
    config.ablation = StateAblation::kZeroAll;
    CHECK_FALSE(sees_future(config));
  }
}

}  // namespace
}  // namespace ghost
