#include <algorithm>
#include <cmath>

#include "models/sampling.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"
#include "tests/support/tiny_language_model.h"

namespace ghost {
namespace {

using test::tiny_models;
using test::TinyLanguageModel;
using test::values_of;

/// Columns [begin, end) of tokens [B, T].
Tensor piece_of(const Tensor& tokens, std::int64_t begin, std::int64_t end) {
  std::vector<std::int32_t> values;
  for (std::int64_t b = 0; b < tokens.dim(0); ++b) {
    const std::int32_t* row = tokens.data<std::int32_t>() + b * tokens.dim(1);
    values.insert(values.end(), row + begin, row + end);
  }
  return test::tokens_of({tokens.dim(0), end - begin}, values);
}

/// Largest difference between the logits [B, V] after token t - 1 and column t - 1 of [B, T, V].
double difference_at(const Tensor& step, const Tensor& whole, std::int64_t t) {
  double largest = 0;
  const std::int64_t vocab = step.dim(1);
  for (std::int64_t b = 0; b < step.dim(0); ++b) {
    for (std::int64_t v = 0; v < vocab; ++v) {
      const double expected = whole.data<double>()[(b * whole.dim(1) + t - 1) * vocab + v];
      largest = std::max(largest, std::abs(step.data<double>()[b * vocab + v] - expected));
    }
  }
  return largest;
}

// Chunks are of two or three tokens: pieces of 1 (the recurrence), 2 and 5 meet them in every way.
TEST_CASE("tokens one by one, in pieces and all at once give the same logits", "[models]") {
  for (const auto& [name, config] : tiny_models()) {
    TinyLanguageModel tiny(config, /*batch=*/2, /*seq_len=*/13);
    const Tensor whole = tiny.logits(tiny.tokens);
    for (const std::int64_t piece : {1, 2, 5, 13}) {
      GenerationState state = tiny.model->start(tiny.ctx, /*batch=*/2, /*max_length=*/13);
      for (std::int64_t t = 0; t < 13; t += piece) {
        const std::int64_t end = std::min<std::int64_t>(13, t + piece);
        const Tensor logits = tiny.model->step(tiny.ctx, piece_of(tiny.tokens, t, end), state);
        INFO(name << ", pieces of " << piece << ", token " << end);
        CHECK(difference_at(logits, whole, end) < 1e-10);
      }
      CHECK(state.length == 13);
    }
  }
}

// Real chunks: 257 is one token past a multiple of every chunk length here.
TEST_CASE("long texts give the same logits from states", "[models]") {
  ModelConfig config{.type = ModelType::kHybrid};
  config.hybrid = {.layers = 3,
                   .channels = 12,
                   .layer_types = {{LayerType::kMamba2, LayerType::kMamba3, LayerType::kAttention}},
                   .vocab_size = 16,
                   .mamba2 = {.state = 7, .head_dim = 3, .groups = 2, .chunk = 64},
                   .mamba3 = {.state = 9, .head_dim = 8},
                   .attention = {.heads = 2, .conv = 4}};
  constexpr std::int64_t kLength = 257;
  TinyLanguageModel tiny(config, /*batch=*/1, kLength);
  const Tensor whole = tiny.logits(tiny.tokens);
  for (const std::int64_t first : {1, 2, 63, 64, 65, 256}) {
    GenerationState state = tiny.model->start(tiny.ctx, 1, kLength);
    tiny.model->step(tiny.ctx, piece_of(tiny.tokens, 0, first), state);
    const Tensor logits = tiny.model->step(tiny.ctx, piece_of(tiny.tokens, first, kLength), state);
    INFO("after " << first << " tokens");
    CHECK(difference_at(logits, whole, kLength) < 1e-10);
  }
}

// Convolutions and keys go on from what is stored, states from f32.
TEST_CASE("tokens one by one give the logits of the whole text in bf16", "[models]") {
  constexpr std::int64_t kLength = 29;
  for (const auto& [name, config] : tiny_models()) {
    INFO(name);
    const auto model = make_model(config, 0);
    Context ctx(Device{});
    model->parameters().materialize(ctx.allocator(), DType::kF32, DType::kBF16);
    model->parameters().initialize(/*seed=*/5);
    const Tensor tokens = test::integers({2, kLength}, 11, 1);
    const auto whole = values_of(model->logits(ctx, tokens));
    GenerationState state = model->start(ctx, /*batch=*/2, kLength);
    for (std::int64_t t = 0; t < kLength; ++t) {
      const Tensor logits = model->step(ctx, piece_of(tokens, t, t + 1), state);
      const auto step = values_of(logits);
      const std::int64_t vocab = logits.dim(1);
      for (std::size_t i = 0; i < step.size(); ++i) {
        const auto at = static_cast<std::int64_t>(i);
        const auto expected =
            whole[static_cast<std::size_t>((at / vocab * kLength + t) * vocab + at % vocab)];
        CHECK(std::abs(step[i] - expected) < 0.02);
      }
    }
    const std::vector<std::int32_t> prompt{3, 1, 4};
    CHECK(generate(ctx, *model, prompt, {.max_tokens = 20, .seed = 5}).size() == 20);
  }
}

TEST_CASE("logits do not depend on later tokens, bit by bit", "[models]") {
  for (const auto& [name, config] : tiny_models()) {
    for (const std::int64_t seq_len : {1, 2, 3, 4, 7}) {
      TinyLanguageModel tiny(config, /*batch=*/2, seq_len);
      const Tensor before = tiny.logits(tiny.tokens);
      const std::int64_t vocab = before.dim(2);
      for (std::int64_t changed = 0; changed < seq_len; ++changed) {
        std::int32_t& token = tiny.tokens.data<std::int32_t>()[changed];  // of the first text
        const std::int32_t old = std::exchange(token, (token + 1) % 11);
        const Tensor after = tiny.logits(tiny.tokens);
        token = old;
        INFO(name << ", token " << changed << " of " << seq_len);
        const double* a = before.data<double>();
        const double* b = after.data<double>();
        CHECK(std::equal(a, a + changed * vocab, b));
        CHECK_FALSE(
            std::equal(a + changed * vocab, a + (changed + 1) * vocab, b + changed * vocab));
        CHECK(std::equal(a + seq_len * vocab, a + 2 * seq_len * vocab, b + seq_len * vocab));
      }
    }
  }
}

TEST_CASE("sampling from states repeats sampling from the whole text", "[models]") {
  for (const auto& [name, config] : tiny_models()) {
    INFO(name);
    TinyLanguageModel tiny(config);
    const std::vector<std::int32_t> prompt{3, 1, 4};
    const auto text = generate(tiny.ctx, *tiny.model, prompt, {.max_tokens = 20, .seed = 5});
    std::vector<std::int32_t> whole = prompt;
    for (const std::int32_t token : text) {
      const auto next = generate(tiny.ctx, *tiny.model, whole, {.max_tokens = 1, .seed = 5});
      CHECK(next == std::vector{token});
      whole.push_back(token);
    }
  }
}

TEST_CASE("recurrent states do not grow with the text", "[models]") {
  for (const auto& [name, config] : tiny_models()) {
    INFO(name);
    TinyLanguageModel tiny(config, /*batch=*/1, /*seq_len=*/8);
    const auto bytes_after = [&](std::int64_t steps, std::int64_t room) {
      GenerationState state = tiny.model->start(tiny.ctx, 1, room);
      for (std::int64_t i = 0; i < steps; ++i) {
        tiny.model->step(tiny.ctx, piece_of(tiny.tokens, i % 8, i % 8 + 1), state);
      }
      return tiny.ctx.meter().current(MemoryTag::kWorkspace);
    };
    const bool has_attention = config.type == ModelType::kHybrid;
    CHECK(bytes_after(2, 60) == bytes_after(60, 60));
    CHECK((bytes_after(2, 60) == bytes_after(2, 6000)) == !has_attention);
  }
}

TEST_CASE("a long prompt is read in pieces", "[models]") {
  ModelConfig config = tiny_models()[0].config;
  config.hybrid.mamba2.chunk = 64;
  TinyLanguageModel tiny(config, /*batch=*/1, /*seq_len=*/1100);
  const auto* tokens = tiny.tokens.data<std::int32_t>();
  const auto next = generate(tiny.ctx, *tiny.model, std::span(tokens, 1100),
                             {.max_tokens = 1, .sampling = {.temperature = 0}});
  const Tensor whole = tiny.logits(tiny.tokens);
  const double* last = whole.data<double>() + 1099 * whole.dim(2);
  CHECK(next[0] == std::max_element(last, last + 11) - last);
}

}  // namespace
}  // namespace ghost
