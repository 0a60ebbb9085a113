#include "models/hybrid/hybrid.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "tests/support/catch.h"
#include "tests/support/model_gradients.h"
#include "tests/support/op_check.h"
#include "tests/support/tiny_language_model.h"

namespace ghost {
namespace {

using test::normal;
using test::relative_difference;
using test::tiny_models;
using test::TinyLanguageModel;
using test::values_of;

std::int64_t parameters_of(const HybridConfig& config) {
  return Hybrid(config, "hybrid").parameters().num_elements();
}

// Blocks, final norm and embedding of 32000 tokens; the blocks as in the paper's settings.
TEST_CASE("models have the parameters of the LBI paper's sizes", "[models]") {
  const auto with = [](std::int64_t layers, std::int64_t channels, std::vector<LayerType> types) {
    return HybridConfig{.layers = layers,
                        .channels = channels,
                        .layer_types = {std::move(types)},
                        .vocab_size = 32000,
                        .pad_vocab_to = 1};
  };
  const auto in_blocks = [](const HybridConfig& config) {
    return parameters_of(config) - 32001 * config.channels;
  };
  HybridConfig mamba2 = with(1, 768, {LayerType::kMamba2});
  mamba2.mamba2.state = 64;
  CHECK(in_blocks(mamba2) == 3'666'376);
  mamba2.layers = 14;
  CHECK(in_blocks(mamba2) == 51'329'264);
  CHECK(parameters_of(mamba2) == 75'906'032);
  mamba2.layers = 28;
  CHECK(in_blocks(mamba2) == 102'658'528);
  CHECK(in_blocks(with(1, 768, {LayerType::kMamba2})) == 3'765'320);  // a state of 128

  HybridConfig mamba3 = with(1, 768, {LayerType::kMamba3});
  CHECK(in_blocks(mamba3) == 3'822'640);
  mamba3.layers = 14;
  CHECK(in_blocks(mamba3) == 53'516'960);
  CHECK(parameters_of(mamba3) == 78'093'728);
  mamba3.layers = 28;
  CHECK(in_blocks(mamba3) == 107'033'920);
  mamba3.layers = 1;
  mamba3.mamba3.state = 64;
  CHECK(in_blocks(mamba3) == 3'708'848);

  HybridConfig hybrid = with(
      12, 768, {LayerType::kMamba3, LayerType::kMamba3, LayerType::kMamba3, LayerType::kAttention});
  hybrid.attention = {.heads = 12, .kv_heads = 6, .head_dim = 64, .conv = 4, .mlp = 3072};
  CHECK(in_blocks(hybrid) == 60'968'880);
  HybridConfig transformer = with(12, 512, {LayerType::kAttention});
  transformer.attention = {.heads = 8, .kv_heads = 4, .head_dim = 64, .conv = 4, .mlp = 2048};
  CHECK(in_blocks(transformer) == 47'247'360);
}

TEST_CASE("models have mamba_ssm's names and shapes", "[models]") {
  const auto shape_in = [](const HybridConfig& config, const char* name) {
    Hybrid model(config, "hybrid");
    const Parameter* parameter = model.parameters().find(name);
    INFO(name);
    REQUIRE(parameter != nullptr);
    return parameter->shape;
  };
  HybridConfig config{.layers = 2, .channels = 64, .vocab_size = 50, .pad_vocab_to = 16};
  config.mamba2 = {.state = 16, .head_dim = 32, .groups = 2};
  CHECK(shape_in(config, "backbone.embedding.weight") == Shape{64, 64});
  CHECK(shape_in(config, "backbone.layers.1.norm.weight") == Shape{64});
  CHECK(shape_in(config, "backbone.layers.1.mixer.in_proj.weight") == Shape{324, 64});
  CHECK(shape_in(config, "backbone.layers.1.mixer.conv1d.weight") == Shape{192, 1, 4});
  CHECK(shape_in(config, "backbone.layers.1.mixer.conv1d.bias") == Shape{192});
  for (const char* name : {"dt_bias", "A_log", "D"}) {
    CHECK(shape_in(config, fmt::format("backbone.layers.0.mixer.{}", name).c_str()) == Shape{4});
  }
  CHECK(shape_in(config, "backbone.layers.0.mixer.norm.weight") == Shape{128});
  CHECK(shape_in(config, "backbone.layers.0.mixer.out_proj.weight") == Shape{64, 128});
  CHECK(shape_in(config, "backbone.norm_f.weight") == Shape{64});
  CHECK(Hybrid(config, "mamba2").parameters().find("lm_head.weight") == nullptr);
  config.tied_head = false;
  CHECK(shape_in(config, "lm_head.weight") == Shape{64, 64});

  config.layer_types = {{LayerType::kMamba3, LayerType::kAttention}};
  config.mamba3 = {.state = 10, .head_dim = 32, .mimo_rank = 2, .mlp = 20};
  config.attention = {.heads = 4, .kv_heads = 2, .conv = 4};
  const std::string mixer = "backbone.layers.0.mixer.";
  // z and x, B and C of two ranks, three numbers a head, angles: 10 / 2 = 5, made even, in pairs.
  CHECK(shape_in(config, (mixer + "in_proj.weight").c_str()) == Shape{256 + 40 + 12 + 2, 64});
  CHECK(shape_in(config, (mixer + "B_bias").c_str()) == Shape{4, 2, 10});
  CHECK(shape_in(config, (mixer + "C_norm.weight").c_str()) == Shape{10});
  CHECK(shape_in(config, (mixer + "mimo_o").c_str()) == Shape{4, 2, 32});
  CHECK(shape_in(config, "backbone.layers.0.norm2.weight") == Shape{64});
  CHECK(shape_in(config, "backbone.layers.0.mlp.fc1.weight") == Shape{40, 64});
  CHECK(shape_in(config, "backbone.layers.0.mlp.fc2.weight") == Shape{64, 20});
  CHECK(shape_in(config, "backbone.layers.1.mixer.in_proj.weight") == Shape{128, 64});
  CHECK(shape_in(config, "backbone.layers.1.mixer.conv1d.weight") == Shape{128, 1, 4});
  CHECK(shape_in(config, "backbone.layers.1.mixer.out_proj.weight") == Shape{64, 64});
}

TEST_CASE("only weights of products decay, or everything", "[models]") {
  for (const auto& [name, config] : tiny_models()) {
    INFO(name);
    for (const bool decay_all : {false, true}) {
      ModelConfig changed = config;
      changed.hybrid.decay_all = decay_all;
      const auto model = make_model(changed, 0);
      for (const auto& parameter : model->parameters().all()) {
        INFO(parameter->name);
        const std::string& path = parameter->name;
        const bool is_weight = path.ends_with("proj.weight") || path.ends_with("fc1.weight") ||
                               path.ends_with("fc2.weight") || path.ends_with("conv1d.weight") ||
                               path.ends_with("embedding.weight") || path == "lm_head.weight" ||
                               path.find("mimo_") != std::string::npos;
        CHECK((parameter->decay == Decay::kYes) == (is_weight || decay_all));
      }
    }
  }
}

struct Range {
  double least = 0;
  double largest = 0;
};

TEST_CASE("models start from mamba_ssm's distributions", "[models]") {
  const auto range_in = [](const HybridConfig& config, const std::string& name) {
    Hybrid model(config, "hybrid");
    Context ctx(Device{});
    model.parameters().materialize(ctx.allocator(), DType::kF64);
    model.parameters().initialize(1);
    const Parameter* parameter = model.parameters().find(name);
    REQUIRE(parameter != nullptr);
    const auto values = values_of(parameter->value);
    return Range{*std::min_element(values.begin(), values.end()),
                 *std::max_element(values.begin(), values.end())};
  };
  // Within the bounds, and close to both: hundreds of draws.
  const auto check_spread = [](const Range& range, double low, double high) {
    const double slack = 0.03 * (high - low);
    CHECK(range.least >= low);
    CHECK(range.least <= low + slack);
    CHECK(range.largest <= high);
    CHECK(range.largest >= high - slack);
  };
  HybridConfig config{.layers = 4, .channels = 128, .vocab_size = 50};
  config.layer_types = {{LayerType::kMamba2, LayerType::kMamba3}};
  config.mamba2 = {.state = 16, .head_dim = 1};
  config.mamba3 = {.state = 16, .head_dim = 1, .mimo_rank = 4};
  const std::string first = "backbone.layers.0.mixer.";
  const std::string second = "backbone.layers.1.mixer.";
  const double in_bound = 1 / std::sqrt(128.0);
  const double out_bound = 1 / std::sqrt(256.0);
  check_spread(range_in(config, first + "in_proj.weight"), -in_bound, in_bound);
  check_spread(range_in(config, first + "conv1d.weight"), -0.5, 0.5);
  check_spread(range_in(config, first + "conv1d.bias"), -0.5, 0.5);
  check_spread(range_in(config, first + "A_log"), 0, std::log(16.0));
  const auto softplus = [](double x) { return std::log1p(std::exp(x)); };
  for (const std::string& mixer : {first, second}) {
    const Range dt = range_in(config, mixer + "dt_bias");
    check_spread({std::log(softplus(dt.least)), std::log(softplus(dt.largest))},
                 std::log(0.001) - 1e-9, std::log(0.1) + 1e-9);
    CHECK(range_in(config, mixer + "D").least == 1);
    check_spread(range_in(config, mixer + "out_proj.weight"), -out_bound / 2, out_bound / 2);
  }
  CHECK(range_in(config, first + "norm.weight").least == 1);
  CHECK(range_in(config, second + "B_bias").largest == 1);
  CHECK(range_in(config, second + "C_bias").least == 1);
  CHECK(range_in(config, second + "mimo_x").least == 0.25);
  CHECK(range_in(config, second + "mimo_z").largest == 1);
  CHECK(range_in(config, second + "mimo_o").largest == 0.25);
  config.rescale_out_proj = false;
  check_spread(range_in(config, first + "out_proj.weight"), -out_bound, out_bound);
}

TEST_CASE("gradients of whole models agree with finite differences", "[models]") {
  constexpr double kStep = 1e-6;
  for (const auto& [name, config] : tiny_models()) {
    TinyLanguageModel tiny(config);
    tiny.gradients({});
    for (const auto& parameter : tiny.model->parameters().all()) {
      // Some elements of each; which ones differs from parameter to parameter.
      const std::int64_t stride = std::max<std::int64_t>(1, parameter->shape.numel() / 5);
      for (std::int64_t at = stride / 2; at < parameter->shape.numel(); at += stride) {
        double& value = parameter->value.data<double>()[at];
        const double slope = test::central_difference(value, kStep, [&] { return tiny.loss(); });
        INFO(name << ": " << parameter->name << "[" << at << "]");
        CHECK(parameter->grad.data<double>()[at] == Approx(slope).epsilon(1e-6).margin(1e-8));
      }
    }
  }
}

TEST_CASE("exact plans give the same gradients of mixers bit by bit", "[models]") {
  for (const auto& [name, config] : tiny_models()) {
    INFO(name);
    TinyLanguageModel tiny(config);
    const auto expected = tiny.gradients({});
    CHECK(tiny.gradients({.recompute = Recompute::kCheap}) == expected);
    CHECK(tiny.gradients({.recompute = Recompute::kAttention}) == expected);
    CHECK(tiny.gradients({.recompute = Recompute::kBlock}) == expected);
    CHECK(tiny.gradients({.rules = {{.keep = Keep::kRecompute}}}) == expected);
  }
}

TEST_CASE("approximate plans come close on mixers", "[models]") {
  for (const auto& [name, config] : tiny_models()) {
    TinyLanguageModel tiny(config);
    const auto expected = tiny.gradients({});
    const std::pair<Keep, double> kKeeps[] = {
        {Keep::kBF16, 0.999}, {Keep::kInt8, 0.995}, {Keep::kDerivative8, 0.995}};
    for (const auto& [keep, close] : kKeeps) {
      for (const Recompute recompute : {Recompute::kNone, Recompute::kAttention}) {
        INFO(name << ", " << enum_name(keep) << ", recompute: " << enum_name(recompute));
        const auto approximate = tiny.gradients({.keep = keep, .recompute = recompute});
        CHECK(approximate != expected);
        CHECK(test::cosine(approximate, expected) > close);
      }
    }
  }
}

TEST_CASE("presets run on mixers", "[models]") {
  for (const auto& [name, config] : tiny_models()) {
    TinyLanguageModel tiny(config);
    const auto expected = tiny.gradients({});
    for (const auto& [preset, text] : EnumNames<ResidualPreset>::kNames) {
      if (preset == ResidualPreset::kAuto) {
        continue;
      }
      // As many rows as there are tokens: the sketch alone changes nothing.
      const ResidualsConfig residuals{.preset = preset, .sketch = {.rank = 10, .lambda = 0}};
      INFO(name << ", " << text);
      const bool has_4_bits =
          preset == ResidualPreset::kBasisInt8Gelu4 || preset == ResidualPreset::kBasisRecompute;
      CHECK(test::cosine(tiny.gradients(residuals), expected) > (has_4_bits ? 0.9 : 0.98));
    }
  }
}

std::map<std::string, Tensor> named_gradients(TinyLanguageModel& tiny,
                                              const ResidualsConfig& residuals) {
  tiny.gradients(residuals);
  std::map<std::string, Tensor> out;
  for (const auto& parameter : tiny.model->parameters().all()) {
    out.emplace(parameter->name, test::tensor_of(parameter->shape, values_of(parameter->grad)));
  }
  return out;
}

TEST_CASE("sketches leave everything in mixers exact but the projections", "[models]") {
  for (const auto& [name, config] : tiny_models()) {
    ModelConfig untied = config;
    untied.hybrid.tied_head = false;
    TinyLanguageModel tiny(untied);
    const auto exact = named_gradients(tiny, {});
    ResidualsConfig sketched{.rules = {{.keep = Keep::kSketch}}, .sketch = {.rank = 3}};
    for (const Recompute recompute :
         {Recompute::kNone, Recompute::kCheap, Recompute::kAttention, Recompute::kBlock}) {
      sketched.recompute = recompute;
      for (const auto& [path, gradient] : named_gradients(tiny, sketched)) {
        INFO(name << ": " << path << ", recompute: " << enum_name(recompute));
        const bool is_linear = path.ends_with("proj.weight") || path.ends_with("fc1.weight") ||
                               path.ends_with("fc2.weight") || path == "lm_head.weight";
        const double difference = relative_difference(gradient, exact.at(path));
        CHECK((is_linear ? difference > 1e-4 : difference < 1e-12));
      }
    }
  }
}

TEST_CASE("blocks with mixers pull back several cotangents at once", "[models]") {
  for (const auto& [name, config] : tiny_models()) {
    for (const Recompute recompute :
         {Recompute::kNone, Recompute::kCheap, Recompute::kAttention, Recompute::kBlock}) {
      INFO(name << ", recompute: " << enum_name(recompute));
      const HybridConfig hybrid = config.as_hybrid();
      ParameterStore parameters;
      BlockStack blocks;
      for (std::int64_t i = 0; i < hybrid.layers; ++i) {
        blocks.add(std::make_unique<HybridBlock>(hybrid, i, parameters));
      }
      Context ctx(Device{});
      parameters.materialize(ctx.allocator(), DType::kF64);
      parameters.initialize(3);
      Tape tape{ResidualPlan({.recompute = recompute})};
      const Context::Recording recording(ctx, &tape);
      const Tensor x = tape.watch(normal({2, 5, hybrid.channels}, 1));
      const Tensor y = blocks.forward(ctx, x);
      const Tensor many = normal({3, 2, 5, hybrid.channels}, 2);
      const Tensor together =
          tape.vjp(ctx, std::span(&y, 1), std::span(&many, 1), std::span(&x, 1))[0];
      for (std::int64_t p = 0; p < 3; ++p) {
        const Tensor one = many.slice(p, p + 1);
        const Tensor alone =
            tape.vjp(ctx, std::span(&y, 1), std::span(&one, 1), std::span(&x, 1))[0];
        CHECK(relative_difference(together.slice(p, p + 1), alone) < 1e-12);
      }
    }
  }
}

TEST_CASE("FLOPs a token are 6 N and three times what mixers do forward", "[models]") {
  HybridConfig config{.layers = 2, .channels = 64, .vocab_size = 32, .pad_vocab_to = 1};
  config.mamba2 = {.state = 16, .head_dim = 32, .groups = 2, .chunk = 8};
  config.mamba3 = {.state = 16, .head_dim = 32, .chunk = 8};
  config.attention = {.heads = 4, .kv_heads = 2};
  const auto mixer_flops = [&](LayerType type, std::int64_t seq_len) {
    HybridConfig of_type = config;
    of_type.layer_types = {{type}};
    const Hybrid model(of_type, "hybrid");
    const auto& parameters = static_cast<const LanguageModel&>(model).parameters();
    return model.flops_per_token(seq_len) - 6.0 * static_cast<double>(parameters.num_elements());
  };
  // 2 [L (G N + H P) + 2 H P N], with 4 heads of 32; L is the whole sequence where that is shorter.
  CHECK(mixer_flops(LayerType::kMamba2, 100) == 2 * 3 * 2 * (8 * (32 + 128) + 2 * 128 * 16));
  CHECK(mixer_flops(LayerType::kMamba2, 4) == 2 * 3 * 2 * (4 * (32 + 128) + 2 * 128 * 16));
  // 2 [L H (N + P) + 2 H P N]
  CHECK(mixer_flops(LayerType::kMamba3, 100) == 2 * 3 * 2 * (8 * 4 * (16 + 32) + 2 * 128 * 16));
  CHECK(mixer_flops(LayerType::kAttention, 100) == 2 * 12 * 64 * 100);
  config.mamba3.mimo_rank = 4;
  CHECK(mixer_flops(LayerType::kMamba3, 100) ==
        2 * 3 * 2 * (8 * 16 * 4 * (16 + 32) + 2 * 4 * 128 * 16));
}

TEST_CASE("a hybrid without a vocabulary is refused", "[models]") {
  CHECK_THROWS_WITH(Hybrid({.vocab_size = 0}, "hybrid"),
                    "model.vocab_size is 0; expected the size of the vocabulary");
}

}  // namespace
}  // namespace ghost
