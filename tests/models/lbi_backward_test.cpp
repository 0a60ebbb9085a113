#include <algorithm>
#include <cmath>

#include "engine/tensor/primitives.h"
#include "models/lbi/lbi_pass.h"
#include "tests/support/catch.h"
#include "tests/support/model_gradients.h"
#include "tests/support/op_check.h"
#include "tests/support/tiny_lbi_model.h"

namespace ghost {
namespace {

using test::tiny_layers;
using test::tiny_regions;
using test::TinyLbiModel;
using test::values_of;

constexpr double kRounding = 1e-10;  // of sums in another order, f64

constexpr RegionsBackward kWithRegions[] = {RegionsBackward::kScan, RegionsBackward::kSerialAdjoint,
                                            RegionsBackward::kHybrid};

TEST_CASE("every backward engine gives the gradients of one tape", "[models]") {
  for (const auto& [name, make] : tiny_layers()) {
    for (RegionsConfig config : tiny_regions()) {
      for (const std::int64_t per_region : {1, 2}) {
        config.layers_per_region = per_region;
        config.backward = RegionsBackward::kTape;
        TinyLbiModel taped(config, make());
        const auto expected = taped.gradients();
        const double loss = taped.loss();
        for (const RegionsBackward backward : kWithRegions) {
          INFO(name << ", " << enum_name(config.variant) << ", " << enum_name(backward) << ", "
                    << per_region << " layers a region");
          config.backward = backward;
          TinyLbiModel tiny(config, make());
          CHECK(test::relative_difference(tiny.gradients(), expected) <= kRounding);
          CHECK(tiny.model.last_backward().adjoint_rms < 1e-12);
          CHECK(tiny.loss() == loss);
        }
      }
    }
  }
}

TEST_CASE("a scan forms no pullback that it does not need", "[models]") {
  const auto make = tiny_layers().back().make;
  RegionsConfig config = tiny_regions().front();
  const auto pullbacks = [&] {
    TinyLbiModel tiny(config, make());
    tiny.gradients();
    return tiny.model.last_backward().pullbacks;
  };
  config.backward = RegionsBackward::kScan;
  config.layers_per_region = 3;  // 2 regions: the last one's adjoint is all that the first needs
  CHECK(pullbacks() == 0);
  config.layers_per_region = 2;
  CHECK(pullbacks() == 1);
  config.layers_per_region = 1;
  CHECK(pullbacks() == 3);
  config.backward = RegionsBackward::kHybrid;
  config.serial_regions = 1;
  CHECK(pullbacks() == 2);
  config.serial_regions = 9;
  CHECK(pullbacks() == 0);
  config.serial_regions.reset();  // one process gains nothing by a scan
  CHECK(pullbacks() == 0);
}

TEST_CASE("columns in groups and both suffix methods give one gradient", "[models]") {
  for (const auto& [name, make] : tiny_layers()) {
    RegionsConfig config = tiny_regions().front();
    config.layers_per_region = 1;
    const auto expected = TinyLbiModel(config, make()).gradients();
    config.backward = RegionsBackward::kScan;
    for (const std::int64_t columns : {1, 2, 3, 5}) {
      for (const auto& [suffix, suffix_name] : EnumNames<SuffixMethod>::kNames) {
        INFO(name << ", " << columns << " columns, " << suffix_name);
        config.columns = columns;
        config.suffix = suffix;
        CHECK(test::relative_difference(TinyLbiModel(config, make()).gradients(), expected) <=
              kRounding);
      }
    }
  }
}

TEST_CASE("a model of one region has nothing to scan", "[models]") {
  for (const auto& [name, make] : tiny_layers()) {
    INFO(name);
    RegionsConfig config = tiny_regions().front();
    config.layers_per_region = 5;
    const auto expected = TinyLbiModel(config, make()).gradients();
    config.backward = RegionsBackward::kScan;
    TinyLbiModel tiny(config, make());
    CHECK(test::relative_difference(tiny.gradients(), expected) <= 1e-14);
    CHECK(tiny.model.last_backward().adjoint_rms == 0);
  }
}

TEST_CASE("gradients of regions agree with finite differences", "[models]") {
  constexpr double kStep = 1e-6;
  for (const std::size_t layers : {0, 3}) {
    for (RegionsConfig config : tiny_regions()) {
      config.backward = RegionsBackward::kScan;
      config.layers_per_region = layers == 0 ? 2 : 1;
      TinyLbiModel tiny(config, tiny_layers()[layers].make());
      tiny.gradients();
      for (const auto& parameter : tiny.model.parameters().all()) {
        const std::int64_t at = parameter->shape.numel() / 2;
        double& value = parameter->value.data<double>()[at];
        const double slope = test::central_difference(value, kStep, [&] { return tiny.loss(); });
        INFO(enum_name(config.variant) << ": " << parameter->name << "[" << at << "]");
        CHECK(parameter->grad.data<double>()[at] == Approx(slope).epsilon(1e-6).margin(1e-8));
      }
    }
  }
}

// As the blocks of a region run again for every group of columns and once more for its gradients.
TEST_CASE("regions keep residuals as the plan says", "[models]") {
  for (const auto& [name, make] : tiny_layers()) {
    RegionsConfig config = tiny_regions().front();
    config.layers_per_region = 1;
    for (const Recompute recompute :
         {Recompute::kCheap, Recompute::kAttention, Recompute::kBlock}) {
      INFO(name << ", recompute: " << enum_name(recompute));
      config.backward = RegionsBackward::kTape;
      const auto expected = TinyLbiModel(config, make()).gradients();
      config.backward = RegionsBackward::kScan;
      const auto found = TinyLbiModel(config, make()).gradients({.recompute = recompute});
      CHECK(test::relative_difference(found, expected) <= kRounding);
    }
  }
}

TEST_CASE("dropout draws the same numbers whatever the engine", "[models]") {
  RegionsConfig config = tiny_regions().front();
  const auto gradients = [&](RegionsBackward backward) {
    config.backward = backward;
    return TinyLbiModel(config, test::tiny_gpt_with_dropout()).gradients();
  };
  const auto expected = gradients(RegionsBackward::kTape);
  CHECK(test::relative_difference(gradients(RegionsBackward::kScan), expected) <= kRounding);
  CHECK(test::relative_difference(TinyLbiModel(config, tiny_layers()[0].make()).gradients(),
                                  expected) > 1e-3);
}

/// Pullbacks [K - 1, B, S r, S r] of a model's regions.
Tensor pullbacks_of(TinyLbiModel& tiny) {
  LbiPass pass(tiny.model, ResidualPlan{});
  pass.forward(tiny.ctx, tiny.tokens, tiny.targets);
  return pass.pullbacks(tiny.ctx);
}

// A layer norm's pullback takes 1 / gain, which the gain makes constant, to nothing: its rank is at
// most r - 1, and no algorithm may divide by a pullback.
TEST_CASE("pullbacks are singular", "[models]") {
  for (const auto& [name, make] : tiny_layers()) {
    INFO(name);
    TinyLbiModel tiny(tiny_regions().front(), make());
    const Tensor pullbacks = pullbacks_of(tiny);
    REQUIRE(pullbacks.shape() == Shape{2, 2, 3, 3});
    for (std::int64_t k = 0; k < 2; ++k) {
      auto kernel =
          values_of(tiny.model.parameters().find(fmt::format("regions.{}.norm.weight", k))->value);
      for (double& gain : kernel) {
        gain = 1 / gain;
      }
      auto twice = kernel;  // one for each sample
      twice.insert(twice.end(), kernel.begin(), kernel.end());
      const auto zeros = values_of(
          apply_matrices(tiny.ctx, pullbacks.slice(k, k + 1), test::tensor_of({2, 3}, twice)));
      for (const double zero : zeros) {
        CHECK(std::abs(zero) < 1e-12);
      }
    }
  }
}

// Of a chunk's state to an earlier chunk's; and, where a chunk conditions the next one only, to its
// own there is nothing but the norm.
TEST_CASE("pullbacks of chunks are block triangular", "[models]") {
  for (const RegionsConfig& config : tiny_regions()) {
    const bool is_chunked = config.variant == RegionsVariant::kChunked;
    if (!is_chunked && config.variant != RegionsVariant::kMultiAnchor) {
      continue;
    }
    TinyLbiModel tiny(config, tiny_layers().back().make());
    const Tensor pullbacks = pullbacks_of(tiny);
    const std::int64_t width = pullbacks.dim(-1);
    REQUIRE(width == 9);
    const auto values = values_of(pullbacks);
    double largest_above = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto in = static_cast<std::int64_t>(i) / width % width / 3;
      const auto out = static_cast<std::int64_t>(i) % width / 3;
      if (in > out) {
        CHECK(values[i] == 0);
      } else if (in < out) {
        largest_above = std::max(largest_above, std::abs(values[i]));
      }
    }
    CHECK(largest_above > 1e-3);
  }
}

}  // namespace
}  // namespace ghost
