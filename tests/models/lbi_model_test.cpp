#include "models/lbi/lbi_model.h"

#include <algorithm>

#include "models/lbi/position_losses.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"
#include "tests/support/tiny_lbi_model.h"

namespace ghost {
namespace {

using test::tiny_layers;
using test::tiny_regions;
using test::TinyLbiModel;
using test::values_of;

RegionsConfig regions_of(RegionsVariant variant) {
  for (const RegionsConfig& config : tiny_regions()) {
    if (config.variant == variant) {
      return config;
    }
  }
  fail("no tiny regions of this variant");
}

/// Largest change of the logits of each position when the token at `position` changes.
std::vector<double> changes(TinyLbiModel& tiny, std::int64_t position) {
  return logit_changes(tiny.ctx, tiny.model, tiny.tokens, position);
}

TEST_CASE("scored logits of causal variants read no later token", "[models]") {
  for (const auto& [name, make] : tiny_layers()) {
    for (const RegionsConfig& config : tiny_regions()) {
      if (config.variant == RegionsVariant::kPaper) {
        continue;
      }
      TinyLbiModel tiny(config, make());
      const std::int64_t seq_len = tiny.tokens.dim(1);
      const std::int64_t first_scored = training_slots(config, seq_len).first_scored;
      for (std::int64_t changed = 1; changed < seq_len; ++changed) {
        const auto found = changes(tiny, changed);
        for (std::int64_t t = first_scored; t < changed; ++t) {
          INFO(name << ", " << enum_name(config.variant) << ": token " << changed << ", logits "
                    << t);
          CHECK(found[static_cast<std::size_t>(t)] == 0);
        }
        CHECK(found[static_cast<std::size_t>(changed)] > 0);
      }
    }
  }
}

// The published model: every position but the last has read what it is scored on.
TEST_CASE("logits of the paper's variant read later tokens", "[models]") {
  for (const auto& [name, make] : tiny_layers()) {
    INFO(name);
    TinyLbiModel tiny(regions_of(RegionsVariant::kPaper), make());
    for (const double change : changes(tiny, tiny.tokens.dim(1) - 1)) {
      CHECK(change > 1e-6);
    }
  }
}

TEST_CASE("without its states the paper's variant is causal", "[models]") {
  RegionsConfig config = regions_of(RegionsVariant::kPaper);
  config.ablation = StateAblation::kZeroAll;
  for (const auto& [name, make] : tiny_layers()) {
    INFO(name);
    TinyLbiModel tiny(config, make());
    const auto found = changes(tiny, 4);
    CHECK(std::all_of(found.begin(), found.begin() + 4, [](double change) { return change == 0; }));
    CHECK(found[4] > 0);
  }
}

TEST_CASE("a prefix that reads itself in both directions is not scored", "[models]") {
  TinyLbiModel tiny(regions_of(RegionsVariant::kPrefixLm), tiny_layers()[0].make());
  CHECK(changes(tiny, 2)[0] > 1e-6);
  const Tensor scored = scored_targets(tiny.ctx, test::tokens_of({1, 4}, {5, 6, 7, 8}), 2);
  CHECK(std::vector<std::int32_t>(scored.span<std::int32_t>().begin(),
                                  scored.span<std::int32_t>().end()) ==
        std::vector<std::int32_t>{-1, -1, 7, 8});
  const double loss = tiny.loss();
  std::fill_n(tiny.targets.data<std::int32_t>(), 2, 0);  // before the prefix's last position
  CHECK(tiny.loss() == loss);
}

TEST_CASE("zeroed states leave the last region on a constant", "[models]") {
  for (const auto& [name, make] : tiny_layers()) {
    INFO(name);
    RegionsConfig config = regions_of(RegionsVariant::kPaper);
    config.ablation = StateAblation::kZeroAll;
    TinyLbiModel tiny(config, make());
    const Slots slots = training_slots(config, 7);
    const Tensor canvas = tiny.model.parts().embed(tiny.ctx, tiny.tokens, 0);
    const Tensor zeros = tiny.ctx.zeros({2, 1, 3}, DType::kF64);
    const Tensor expected = tiny.model.parts().readout_logits(
        tiny.ctx, tiny.model.regions().back().features(tiny.ctx, canvas, zeros, slots));
    CHECK(values_of(tiny.model.logits(tiny.ctx, tiny.tokens)) == values_of(expected));
    const auto of_tape = tiny.gradients();
    config.backward = RegionsBackward::kScan;
    TinyLbiModel scanned(config, make());
    CHECK(test::relative_difference(scanned.gradients(), of_tape) < 1e-14);
    for (const auto& parameter : scanned.model.parameters().all()) {
      const auto gradient = values_of(parameter->grad);
      const bool has_gradient = std::any_of(gradient.begin(), gradient.end(),
                                            [](double element) { return element != 0; });
      const std::int64_t region = scanned.model.region_of(*parameter);
      INFO(parameter->name);
      CHECK((region == 2 || !has_gradient));
    }
  }
}

TEST_CASE("noise and masks of states are for evaluation", "[models]") {
  const double clean =
      TinyLbiModel(regions_of(RegionsVariant::kPaper), tiny_layers()[0].make()).loss();
  for (const StateAblation ablation : {StateAblation::kNoise, StateAblation::kMask}) {
    RegionsConfig config = regions_of(RegionsVariant::kPaper);
    config.ablation = ablation;
    TinyLbiModel tiny(config, tiny_layers()[0].make());
    CHECK(tiny.loss() != clean);
    CHECK(tiny.loss() == tiny.loss());
    CHECK_THROWS_WITH(tiny.gradients(),
                      fmt::format("model.regions.ablation is {}; it is for evaluation, expected "
                                  "none or zero_all in training",
                                  enum_name(ablation)));
  }
  RegionsConfig silent = regions_of(RegionsVariant::kPaper);
  silent.ablation = StateAblation::kNoise;
  silent.noise = 0;
  CHECK(TinyLbiModel(silent, tiny_layers()[0].make()).loss() == clean);
}

/// Logits of the last position, the text read in pieces of the given lengths.
std::vector<double> read_in_pieces(TinyLbiModel& tiny, const std::vector<std::int64_t>& lengths) {
  GenerationState state = tiny.model.start(tiny.ctx, 1, 7);
  const Tensor text = tiny.tokens.slice(0, 1).reshape({7});
  std::vector<double> out;
  std::int64_t at = 0;
  for (const std::int64_t length : lengths) {
    out = values_of(
        tiny.model.step(tiny.ctx, text.slice(at, at + length).reshape({1, length}), state));
    at += length;
  }
  CHECK(state.length == 7);
  return out;
}

TEST_CASE("a causal variant generates what it was trained on", "[models]") {
  for (const auto& [name, make] : tiny_layers()) {
    for (const RegionsConfig& config : tiny_regions()) {
      INFO(name << ", " << enum_name(config.variant));
      TinyLbiModel tiny(config, make());
      const Tensor text = tiny.tokens.slice(0, 1);
      auto expected = values_of(tiny.model.logits(tiny.ctx, text));
      expected.erase(expected.begin(),
                     expected.end() - static_cast<std::ptrdiff_t>(tiny.model.padded_vocab_size()));
      switch (config.variant) {
        case RegionsVariant::kPaper:  // the prompt is pooled: the whole text at once
          CHECK(test::relative_difference(read_in_pieces(tiny, {7}), expected) < 1e-12);
          CHECK(test::relative_difference(read_in_pieces(tiny, {6, 1}), expected) > 1e-6);
          break;
        case RegionsVariant::kPrefixLm:
          CHECK(test::relative_difference(read_in_pieces(tiny, {3, 1, 1, 2}), expected) < 1e-12);
          break;
        case RegionsVariant::kAnchor:
        case RegionsVariant::kChunked:
        case RegionsVariant::kMultiAnchor:
          CHECK(test::relative_difference(read_in_pieces(tiny, {1, 1, 1, 1, 1, 1, 1}), expected) <
                1e-12);
          CHECK(test::relative_difference(read_in_pieces(tiny, {4, 3}), expected) < 1e-12);
          break;
      }
    }
  }
}

// I = (K + 1)(d h + h + h r + r) + K (r h + h + h d + d) + 2 r K + K
TEST_CASE("interfaces have the parameters of the closed form", "[models]") {
  const RegionsConfig config = regions_of(RegionsVariant::kPaper);
  const auto dense = tiny_layers()[1].make();
  const TinyLbiModel tiny(config, tiny_layers()[1].make());
  const auto& model = static_cast<const LanguageModel&>(tiny.model);
  const std::int64_t d = 6;
  const std::int64_t h = 7;
  const std::int64_t r = 3;
  const std::int64_t k = 3;
  CHECK(model.parameters().num_elements() - dense->parameters().num_elements() ==
        (k + 1) * (d * h + h + h * r + r) + k * (r * h + h + h * d + d) + 2 * r * k + k);
}

TEST_CASE("every parameter belongs to a region", "[models]") {
  for (const auto& [name, make] : tiny_layers()) {
    TinyLbiModel tiny(regions_of(RegionsVariant::kPaper), make());
    const auto region_of = [&](const std::string& parameter) {
      INFO(name << ": " << parameter);
      const Parameter* found = tiny.model.parameters().find(parameter);
      REQUIRE(found != nullptr);
      return tiny.model.region_of(*found);
    };
    const bool is_gpt = name == "gpt";
    CHECK(region_of("regions.initial.fc1.weight") == 0);
    CHECK(region_of("regions.1.encoder.fc2.bias") == 1);
    CHECK(region_of("regions.2.scale") == 2);
    CHECK(region_of(is_gpt ? "transformer.h.1.ln_1.weight" : "backbone.layers.1.norm.weight") == 0);
    CHECK(region_of(is_gpt ? "transformer.h.2.ln_1.weight" : "backbone.layers.2.norm.weight") == 1);
    CHECK(region_of(is_gpt ? "transformer.h.4.ln_1.weight" : "backbone.layers.4.norm.weight") == 2);
    CHECK(region_of(is_gpt ? "transformer.wte.weight" : "backbone.embedding.weight") == 2);
  }
}

TEST_CASE("slots are where the variant says", "[models]") {
  const auto check = [](RegionsVariant variant, const PositionRanges& pools,
                        const PositionRanges& conditions) {
    INFO(enum_name(variant));
    const Slots slots = training_slots(regions_of(variant), 7);
    CHECK(slots.pools == pools);
    CHECK(slots.conditions == conditions);
    CHECK(slots.first_scored == (variant == RegionsVariant::kPrefixLm ? 2 : 0));
  };
  check(RegionsVariant::kPaper, {{0, 7}}, {{0, 7}});
  check(RegionsVariant::kPrefixLm, {{0, 3}}, {{0, 7}});
  check(RegionsVariant::kAnchor, {{2, 3}}, {{2, 7}});
  check(RegionsVariant::kChunked, {{0, 2}, {2, 4}, {4, 6}}, {{2, 4}, {4, 6}, {6, 7}});
  check(RegionsVariant::kMultiAnchor, {{1, 2}, {3, 4}, {5, 6}}, {{1, 3}, {3, 5}, {5, 7}});
}

TEST_CASE("sequences without a slot are refused in training", "[models]") {
  const auto refused = [](RegionsVariant variant, std::int64_t seq_len,
                          const std::string& message) {
    CHECK_THROWS_WITH(training_slots(regions_of(variant), seq_len),
                      message + " the " + std::to_string(seq_len) + " tokens of a sequence");
  };
  refused(RegionsVariant::kPrefixLm, 2, "model.regions.prefix is 3; expected at most");
  refused(RegionsVariant::kAnchor, 2, "model.regions.anchor is 2; expected a position within");
  refused(RegionsVariant::kChunked, 2, "model.regions.chunk is 2; expected less than");
  refused(RegionsVariant::kMultiAnchor, 1, "model.regions.chunk is 2; expected at most");
}

TEST_CASE("regions larger than the model are refused", "[models]") {
  RegionsConfig config = regions_of(RegionsVariant::kPaper);
  config.layers_per_region = 6;
  CHECK_THROWS_WITH(LbiModel(config, tiny_layers()[0].make()),
                    "model.regions.layers_per_region is 6; expected at most the 5 layers of the "
                    "model");
}

}  // namespace
}  // namespace ghost
