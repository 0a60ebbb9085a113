#include "models/gpt/gpt.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "models/gpt/gpt_block.h"
#include "tests/support/catch.h"
#include "tests/support/model_gradients.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;
using test::relative_difference;
using test::tokens_of;
using test::values_of;

constexpr GptConfig kTiny{
    .layers = 2, .heads = 2, .channels = 8, .max_seq_len = 6, .vocab_size = 11, .pad_vocab_to = 4};

const std::vector<std::int32_t> kTokens{3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
const std::vector<std::int32_t> kTargets{1, 4, 1, 5, 9, 6, 5, 3, -1, 8};

/// A tiny model in f64 with weights large enough for every path to matter.
struct TinyModel {
  explicit TinyModel(const GptConfig& config = kTiny, DType dtype = DType::kF64)
      : model(config), ctx(Device{}) {
    model.parameters().materialize(ctx.allocator(), dtype);
    model.parameters().initialize(/*seed=*/5);
    for (const auto& parameter : model.parameters().all()) {
      if (parameter->decay == Decay::kYes && dtype == DType::kF64) {
        for (double& value : parameter->value.span<double>()) {
          value *= 10;
        }
      }
    }
  }

  double loss() {
    ctx.begin_pass(/*seed=*/1, /*step=*/0);
    return values_of(model.loss(ctx, tokens_of({2, 5}, kTokens), tokens_of({2, 5}, kTargets)))[0];
  }

  /// Gradients of all parameters, one after the other.
  std::vector<double> gradients(const ResidualsConfig& residuals, std::int64_t step = 0) {
    return test::gradients_of(ctx, model, residuals, step, tokens_of({2, 5}, kTokens),
                              tokens_of({2, 5}, kTargets));
  }

  Gpt model;
  Context ctx;
};

TEST_CASE("GPT has nanoGPT's parameters", "[models]") {
  const GptConfig config{.vocab_size = 50257};
  Gpt model(config);
  CHECK(config.padded_vocab_size() == 50304);
  CHECK(model.parameters().num_elements() == 124475904);
  CHECK(model.parameters().all().size() == 148);
  for (const char* name : {"transformer.wte.weight", "transformer.wpe.weight",
                           "transformer.h.11.ln_1.bias", "transformer.h.0.attn.c_attn.weight",
                           "transformer.h.0.attn.c_proj.bias", "transformer.h.5.mlp.c_fc.weight",
                           "transformer.h.5.mlp.c_proj.weight", "transformer.ln_f.weight"}) {
    INFO(name);
    CHECK(model.parameters().find(name) != nullptr);
  }
  CHECK(model.parameters().find("lm_head.weight") == nullptr);
  // 6 N + 12 L C T with N without the position table.
  CHECK(model.flops_per_token(1024) == 6.0 * (124475904 - 1024 * 768) + 12.0 * 12 * 768 * 1024);
}

TEST_CASE("GPT starts from nanoGPT's distribution", "[models]") {
  Gpt model({.layers = 8, .heads = 4, .channels = 128, .max_seq_len = 32, .vocab_size = 500});
  Context ctx(Device{});
  model.parameters().materialize(ctx.allocator(), DType::kF32);
  model.parameters().initialize(1);
  const auto std_of = [&](const char* name) {
    double sum_sq = 0;
    const Tensor& value = model.parameters().find(name)->value;
    for (const double v : values_of(value)) {
      sum_sq += v * v;
    }
    return std::sqrt(sum_sq / static_cast<double>(value.numel()));
  };
  CHECK(std_of("transformer.wte.weight") == Approx(0.02).epsilon(0.02));
  CHECK(std_of("transformer.h.3.mlp.c_fc.weight") == Approx(0.02).epsilon(0.02));
  CHECK(std_of("transformer.h.3.mlp.c_proj.weight") == Approx(0.02 / 4).epsilon(0.02));
  CHECK(std_of("transformer.h.3.attn.c_proj.weight") == Approx(0.02 / 4).epsilon(0.02));
  CHECK(std_of("transformer.h.3.attn.c_attn.bias") == 0);
  CHECK(std_of("transformer.h.3.ln_1.weight") == 1);
}

TEST_CASE("GPT has the parameters of the BASIS paper's model", "[models]") {
  Gpt model({.layers = 2,
             .heads = 2,
             .channels = 64,
             .max_seq_len = 64,
             .vocab_size = 50257,
             .pad_vocab_to = 1,
             .tied_head = false});
  CHECK(model.parameters().num_elements() == 6537088);
  CHECK(model.parameters().find("lm_head.weight") != nullptr);
  CHECK(model.parameters().find("lm_head.bias") == nullptr);
}

TEST_CASE("GPT starts from Flax's distribution on request", "[models]") {
  Gpt model({.layers = 8,
             .heads = 4,
             .channels = 128,
             .max_seq_len = 32,
             .vocab_size = 500,
             .tied_head = false,
             .init = GptInit::kFlax});
  Context ctx(Device{});
  model.parameters().materialize(ctx.allocator(), DType::kF32);
  model.parameters().initialize(1);
  struct Spread {
    double std = 0;
    double largest = 0;
  };
  const auto spread_of = [&](const char* name) {
    Spread spread;
    const Tensor& value = model.parameters().find(name)->value;
    for (const double v : values_of(value)) {
      spread.std += v * v;
      spread.largest = std::max(spread.largest, std::abs(v));
    }
    spread.std = std::sqrt(spread.std / static_cast<double>(value.numel()));
    return spread;
  };
  const auto check_truncated = [&](const char* name, double fan_in) {
    INFO(name);
    const double std = 1 / std::sqrt(fan_in);
    CHECK(spread_of(name).std == Approx(std).epsilon(0.02));
    // Cut at two deviations of the normal, which truncation has made narrower.
    CHECK(spread_of(name).largest <= 2 * std / 0.8796256 * (1 + 1e-6));
    CHECK(spread_of(name).largest >= 2.2 * std);
  };
  check_truncated("transformer.h.3.attn.c_attn.weight", 128);
  check_truncated("transformer.h.3.attn.c_proj.weight", 128);
  check_truncated("transformer.h.3.mlp.c_fc.weight", 128);
  check_truncated("transformer.h.3.mlp.c_proj.weight", 512);
  check_truncated("lm_head.weight", 128);
  for (const char* name : {"transformer.wte.weight", "transformer.wpe.weight"}) {
    CHECK(spread_of(name).std == Approx(1 / std::sqrt(128.0)).epsilon(0.03));
  }
  CHECK(spread_of("transformer.wte.weight").largest > 3.5 / std::sqrt(128.0));  // not cut
  CHECK(spread_of("transformer.h.3.mlp.c_fc.bias").largest == 0);
}

TEST_CASE("GPT's gradients agree with finite differences", "[models]") {
  for (const bool tied : {true, false}) {
    GptConfig config = kTiny;
    config.tied_head = tied;
    TinyModel tiny(config);
    tiny.gradients({});
    constexpr double kStep = 1e-5;
    for (const auto& parameter : tiny.model.parameters().all()) {
      // One element of each parameter, another one for each.
      const std::int64_t at = parameter->name.size() * 7 % parameter->shape.numel();
      double& value = parameter->value.data<double>()[at];
      const double slope = test::central_difference(value, kStep, [&] { return tiny.loss(); });
      INFO(parameter->name << "[" << at << "]");
      CHECK(parameter->grad.data<double>()[at] == Approx(slope).epsilon(1e-6).margin(1e-8));
    }
  }
}

TEST_CASE("exact residual plans give the same gradients bit by bit", "[models]") {
  GptConfig config = kTiny;
  config.dropout = 0.3;
  TinyModel tiny(config);
  const auto expected = tiny.gradients({});
  CHECK(tiny.gradients({.recompute = Recompute::kCheap}) == expected);
  CHECK(tiny.gradients({.recompute = Recompute::kAttention}) == expected);
  CHECK(tiny.gradients({.recompute = Recompute::kBlock}) == expected);
  CHECK(tiny.gradients({.rules = {{.role = "linear_input", .keep = Keep::kRecompute}}}) ==
        expected);
  CHECK(tiny.gradients({}, /*step=*/1) != expected);  // other dropout masks
}

TEST_CASE("approximate residual plans come close", "[models]") {
  TinyModel tiny;
  const auto expected = tiny.gradients({});
  const std::pair<Keep, double> kKeeps[] = {{Keep::kBF16, 0.999},
                                            {Keep::kInt8, 0.999},
                                            {Keep::kDerivative8, 0.999},
                                            {Keep::kInt4, 0.9},
                                            {Keep::kDerivative4, 0.9}};
  for (const auto& [keep, close] : kKeeps) {
    for (const Recompute recompute :
         {Recompute::kNone, Recompute::kCheap, Recompute::kAttention, Recompute::kBlock}) {
      INFO(enum_name(keep) << ", recompute: " << enum_name(recompute));
      const auto approximate = tiny.gradients({.keep = keep, .recompute = recompute});
      CHECK(approximate != expected);
      CHECK(test::cosine(approximate, expected) > close);
    }
  }
}

/// The gradient of each parameter under a plan, by name.
std::map<std::string, Tensor> named_gradients(TinyModel& tiny, const ResidualsConfig& residuals) {
  tiny.gradients(residuals);
  std::map<std::string, Tensor> out;
  for (const auto& parameter : tiny.model.parameters().all()) {
    const auto values = values_of(parameter->grad);
    out.emplace(parameter->name, test::tensor_of(parameter->shape, values));
  }
  return out;
}

TEST_CASE("sketches leave all gradients but those of the linears' weights exact", "[models]") {
  GptConfig config = kTiny;
  config.tied_head = false;
  TinyModel tiny(config);
  const auto exact = named_gradients(tiny, {});
  ResidualsConfig sketched{.rules = {{.keep = Keep::kSketch}}, .sketch = {.rank = 3}};
  for (const Recompute recompute : {Recompute::kNone, Recompute::kAttention, Recompute::kBlock}) {
    sketched.recompute = recompute;
    for (const auto& [name, gradient] : named_gradients(tiny, sketched)) {
      INFO(name << ", recompute: " << enum_name(recompute));
      const bool is_linear = name.ends_with("c_attn.weight") || name.ends_with("c_proj.weight") ||
                             name.ends_with("c_fc.weight") || name == "lm_head.weight";
      const double difference = relative_difference(gradient, exact.at(name));
      CHECK((is_linear ? difference > 1e-3 : difference < 1e-12));
    }
  }
}

TEST_CASE("a sketch of as many rows as there are is no sketch", "[models]") {
  TinyModel tiny;
  const auto expected = tiny.gradients({});
  for (const HashKind hash : {HashKind::kBalanced, HashKind::kWindowed}) {
    const SketchConfig full{.rank = 10, .hash = hash, .lambda = 0};
    const auto sketched = tiny.gradients({.rules = {{.keep = Keep::kSketch}}, .sketch = full});
    double largest = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      largest = std::max(largest, std::abs(sketched[i] - expected[i]));
    }
    CHECK(largest < 1e-6);  // |S X| + 1e-8 stands for |X|
  }
}

TEST_CASE("sketches of micro-steps and ranks are drawn apart", "[models]") {
  TinyModel tiny;
  const ResidualsConfig sketched{.rules = {{.keep = Keep::kSketch}}, .sketch = {.rank = 3}};
  CHECK(tiny.gradients(sketched) == tiny.gradients(sketched));
  CHECK(tiny.gradients(sketched, /*step=*/1) != tiny.gradients(sketched));
}

TEST_CASE("packed residual plans come close", "[models]") {
  TinyModel tiny;
  const auto expected = tiny.gradients({});
  const std::pair<Keep, double> kDerivatives[] = {{Keep::kDerivative8, 0.999},
                                                  {Keep::kDerivative4, 0.98}};
  for (const auto& [derivative, close] : kDerivatives) {
    const std::vector<ResidualRule> rules = {{.role = "norm_input", .keep = Keep::kInt8},
                                             {.role = "attention_*", .keep = Keep::kInt8},
                                             {.role = "block_input", .keep = Keep::kInt8},
                                             {.role = "activation_input", .keep = derivative},
                                             {.role = "linear_input", .keep = Keep::kRecompute}};
    for (const Recompute recompute : {Recompute::kNone, Recompute::kAttention, Recompute::kBlock}) {
      INFO(enum_name(derivative) << ", recompute: " << enum_name(recompute));
      const auto approximate = tiny.gradients({.rules = rules, .recompute = recompute});
      CHECK(test::cosine(approximate, expected) > close);
      CHECK(test::cosine(approximate, expected) < 1 - 1e-9);
    }
  }
}

// What backward does with a rounded residual is right on average only as far as it is linear in
// it; the weights' gradients of linears are, given dy.
TEST_CASE("int4 linear inputs give the gradients on average", "[models]") {
  TinyModel tiny;
  const auto expected = tiny.gradients({});
  const ResidualsConfig config{.rules = {{.role = "linear_input", .keep = Keep::kInt4}}};
  constexpr int kDraws = 400;
  std::vector<double> mean(expected.size());
  std::vector<double> square(expected.size());
  for (int draw = 0; draw < kDraws; ++draw) {
    const auto gradients = tiny.gradients(config, /*step=*/draw);
    for (std::size_t i = 0; i < mean.size(); ++i) {
      const double error = gradients[i] - expected[i];
      mean[i] += error / kDraws;
      square[i] += error * error / kDraws;
    }
  }
  double worst = 0;  // in standard errors
  for (std::size_t i = 0; i < mean.size(); ++i) {
    if (square[i] > 1e-20) {
      worst = std::max(worst, std::abs(mean[i]) / std::sqrt(square[i] / kDraws));
    }
  }
  CHECK(worst > 1);
  CHECK(worst < 5);
}

TEST_CASE("blocks that run again skip their last projection", "[models]") {
  TinyModel tiny;
  const auto count = [&](Recompute recompute) {
    GemmCounts counts;
    tiny.ctx.attach_gemm_counts(&counts);
    tiny.gradients({.recompute = recompute});
    tiny.ctx.attach_gemm_counts(nullptr);
    return counts;
  };
  const GemmCounts exact = count(Recompute::kNone);
  const GemmCounts attention = count(Recompute::kAttention);
  const GemmCounts block = count(Recompute::kBlock);
  const std::int64_t blocks = kTiny.layers;
  const GemmShape c_attn{.m = 10, .n = 24, .k = 8};
  const GemmShape c_proj{.m = 10, .n = 8, .k = 8};
  const GemmShape c_fc{.m = 10, .n = 32, .k = 8};
  const GemmShape mlp_c_proj{.m = 10, .n = 8, .k = 32};
  for (const auto& [shape, times] : exact) {
    INFO(shape.m << " x " << shape.n << " x " << shape.k);
    const auto is = [&](const GemmShape& other) { return !(shape < other) && !(other < shape); };
    CHECK(attention.at(shape) - times == (is(c_attn) ? blocks : 0));
    CHECK(block.at(shape) - times == (is(c_attn) || is(c_proj) || is(c_fc) ? blocks : 0));
  }
  CHECK(block.at(mlp_c_proj) == 2 * blocks);  // forward of c_proj and dx of c_fc
}

TEST_CASE("a GPT block pulls back several cotangents at once", "[models]") {
  for (const Recompute recompute :
       {Recompute::kNone, Recompute::kCheap, Recompute::kAttention, Recompute::kBlock}) {
    ParameterStore parameters;
    const GptBlock block(kTiny, 0, parameters);
    Context ctx(Device{});
    parameters.materialize(ctx.allocator(), DType::kF64);
    parameters.initialize(3);
    Tape tape{ResidualPlan({.recompute = recompute})};
    const Context::Recording recording(ctx, &tape);
    const Tensor x = tape.watch(normal({2, 5, 8}, 1));
    const Tensor y = block.forward(ctx, x);
    const Tensor many = normal({4, 2, 5, 8}, 2);
    const Tensor together =
        tape.vjp(ctx, std::span(&y, 1), std::span(&many, 1), std::span(&x, 1))[0];
    for (std::int64_t p = 0; p < 4; ++p) {
      const Tensor one = many.slice(p, p + 1);
      const Tensor alone = tape.vjp(ctx, std::span(&y, 1), std::span(&one, 1), std::span(&x, 1))[0];
      CHECK(relative_difference(together.slice(p, p + 1), alone) < 1e-13);
    }
    for (const auto& parameter : parameters.all()) {
      CHECK_FALSE(parameter->has_grad);
    }
  }
}

TEST_CASE("GPT refuses what does not fit", "[models]") {
  CHECK_THROWS_WITH(Gpt({.vocab_size = 0}),
                    "model.vocab_size is 0; expected the size of the vocabulary");
  TinyModel tiny;
  CHECK_THROWS_WITH(tiny.model.logits(tiny.ctx, tokens_of({1, 7}, {0, 0, 0, 0, 0, 0, 0})),
                    "a sequence of 7 tokens; model.max_seq_len, the position table, is 6");
  CHECK_THROWS_WITH(tiny.model.start(tiny.ctx, 1, 7),
                    "a generation of 7 tokens; model.max_seq_len, the position table, is 6");
}

}  // namespace
}  // namespace ghost
