#include "models/sampling.h"

#include <cmath>
#include <limits>
#include <set>

#include "engine/tensor/primitives.h"
#include "models/gpt/gpt.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

using Catch::Matchers::Equals;

constexpr double kInf = std::numeric_limits<double>::infinity();

/// Tokens that some uniform number out of many draws.
std::set<std::int32_t> drawn(const std::vector<double>& logits, const SamplingOptions& options) {
  std::set<std::int32_t> tokens;
  for (int i = 0; i < 1000; ++i) {
    tokens.insert(sample_token(logits, options, i / 1000.0));
  }
  return tokens;
}

struct TinyGpt {
  explicit TinyGpt(std::uint64_t seed, std::int64_t max_seq_len = 16)
      : ctx(Device{}),
        model(GptConfig{.layers = 2,
                        .heads = 2,
                        .channels = 8,
                        .max_seq_len = max_seq_len,
                        .vocab_size = 11,
                        .pad_vocab_to = 8,
                        .dropout = 0.5}) {
    model.parameters().materialize(ctx.allocator(), DType::kF64);
    model.parameters().initialize(seed);
    for (const auto& parameter : model.parameters().all()) {
      scale(parameter->value, 8);  // initial weights alone give nearly equal logits
    }
  }

  Tensor tokens(const std::vector<std::int32_t>& values) const {
    const Tensor out = ctx.empty({1, static_cast<std::int64_t>(values.size())}, DType::kI32);
    std::copy(values.begin(), values.end(), out.data<std::int32_t>());
    return out;
  }

  Context ctx;
  Gpt model;
};

using Text = std::vector<std::int32_t>;

TEST_CASE("temperature 0 takes the most likely token, the lower of equals", "[models]") {
  CHECK(sample_token(std::vector{1.0, 3.0, 2.0, 3.0}, {.temperature = 0}, 0.999) == 1);
  CHECK(sample_token(std::vector{-kInf, -5.0}, {.temperature = 0}, 0) == 1);
}

TEST_CASE("top_k draws from the k most likely tokens", "[models]") {
  const std::vector<double> logits = {0.1, 2.0, 0.3, 1.0, -1.0};
  CHECK(drawn(logits, {}) == std::set<std::int32_t>{0, 1, 2, 3, 4});
  CHECK(drawn(logits, {.top_k = 1}) == std::set<std::int32_t>{1});
  CHECK(drawn(logits, {.top_k = 3}) == std::set<std::int32_t>{1, 2, 3});
  CHECK(drawn(logits, {.top_k = 100}) == std::set<std::int32_t>{0, 1, 2, 3, 4});
  CHECK(drawn({1.0, 1.0, 1.0, 1.0}, {.top_k = 2}) == std::set<std::int32_t>{0, 1});
}

TEST_CASE("top_p draws from the fewest tokens that reach the share", "[models]") {
  const std::vector<double> logits = {std::log(0.15), std::log(0.5), std::log(0.05), std::log(0.3)};
  CHECK(drawn(logits, {.top_p = 0.4}) == std::set<std::int32_t>{1});
  CHECK(drawn(logits, {.top_p = 0.7}) == std::set<std::int32_t>{1, 3});
  CHECK(drawn(logits, {.top_p = 0.9}) == std::set<std::int32_t>{0, 1, 3});
  CHECK(drawn(logits, {.top_p = 1e-9}) == std::set<std::int32_t>{1});
  // Of the three tokens that top_k leaves, 0.5 / 0.95 and 0.3 / 0.95 make 0.84.
  CHECK(drawn(logits, {.top_k = 3, .top_p = 0.83}) == std::set<std::int32_t>{1, 3});
  // Half the temperature squares the shares: 0.25 of 0.365 is 0.68.
  CHECK(drawn(logits, {.temperature = 0.5, .top_p = 0.68}) == std::set<std::int32_t>{1});
}

TEST_CASE("draws follow the softmax of the logits", "[models]") {
  const std::vector<double> logits = {0.0, 1.0, -2.0, 0.5};
  constexpr double kTemperature = 1.7;
  double total = 0;
  for (const double logit : logits) {
    total += std::exp(logit / kTemperature);
  }
  constexpr int kDraws = 100'000;
  for (const std::int64_t top_k : {0, 4}) {  // in the order of tokens, and sorted
    std::vector<int> counts(logits.size());
    for (int i = 0; i < kDraws; ++i) {
      const double uniform = (i + 0.5) / kDraws;
      ++counts[static_cast<std::size_t>(
          sample_token(logits, {.temperature = kTemperature, .top_k = top_k}, uniform))];
    }
    for (std::size_t token = 0; token < logits.size(); ++token) {
      const double expected = std::exp(logits[token] / kTemperature) / total;
      // Evenly spaced numbers miss each interval's length by at most one draw at either end.
      CHECK(std::abs(counts[token] / double{kDraws} - expected) <= 2.0 / kDraws);
    }
  }
}

TEST_CASE("a token without a share is never drawn", "[models]") {
  const std::vector<double> logits = {-kInf, 0.0, -kInf};
  CHECK(sample_token(logits, {}, 0.0) == 1);
  CHECK(sample_token(logits, {}, std::nextafter(1.0, 0.0)) == 1);
  CHECK(sample_token(logits, {.temperature = 1e-300}, 0.5) == 1);
}

TEST_CASE("logits that cannot be drawn from are named", "[models]") {
  CHECK_THROWS_WITH(sample_token({}, {}, 0),
                    Equals("sample_token: no logits; expected at least one"));
  CHECK_THROWS_WITH(sample_token(std::vector{0.0, std::nan("")}, {}, 0),
                    Equals("sample_token: the logit of token 1 is nan; expected a finite number"));
  CHECK_THROWS_WITH(sample_token(std::vector{kInf}, {}, 0),
                    Equals("sample_token: the logit of token 0 is inf; expected a finite number"));
  CHECK_THROWS_WITH(sample_token(std::vector{-kInf}, {}, 0),
                    Equals("sample_token: every logit is -inf; expected at least one finite "
                           "number"));
}

TEST_CASE("sampling options are checked", "[models]") {
  CHECK_THROWS_WITH((SamplingOptions{.temperature = -1}.validate("sample.")),
                    Equals("sample.temperature is -1; expected zero or a positive number"));
  CHECK_THROWS_WITH((SamplingOptions{.top_k = -1}.validate("sample.")),
                    Equals("sample.top_k is -1; expected zero or a positive integer"));
  CHECK_THROWS_WITH((SamplingOptions{.top_p = 0}.validate("sample.")),
                    Equals("sample.top_p is 0; expected above 0 and at most 1"));
  CHECK_NOTHROW(SamplingOptions{}.validate("sample."));
}

TEST_CASE("cached generation equals reading the whole text again", "[models]") {
  TinyGpt tiny(/*seed=*/3);
  tiny.ctx.set_training(false);
  const Text text = {1, 7, 0, 10, 3, 3, 9, 2, 5, 5, 8};
  GenerationState state = tiny.model.start(tiny.ctx, /*batch=*/1, 16);
  std::size_t read = 0;
  for (const std::size_t piece : {4, 1, 3, 1, 1, 1}) {  // the prompt comes in pieces
    const Text next(text.begin() + static_cast<std::ptrdiff_t>(read),
                    text.begin() + static_cast<std::ptrdiff_t>(read + piece));
    const Tensor cached = tiny.model.step(tiny.ctx, tiny.tokens(next), state);
    read += piece;
    const Text prefix(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(read));
    const Tensor whole = tiny.model.logits(tiny.ctx, tiny.tokens(prefix));
    REQUIRE(cached.shape() == Shape{1, 16});
    const double* last = whole.data<double>() + (static_cast<std::int64_t>(read) - 1) * 16;
    for (std::int64_t v = 0; v < 16; ++v) {
      CHECK(std::abs(cached.data<double>()[v] - last[v]) <= 1e-10);
    }
  }
  REQUIRE(read == text.size());
}

TEST_CASE("the same seed gives the same text", "[models]") {
  TinyGpt tiny(/*seed=*/4);
  const Text prompt = {1, 2, 3};
  const GenerationOptions options = {.max_tokens = 12, .seed = 5};
  Text seen;
  const Text text = generate(tiny.ctx, tiny.model, prompt, options,
                             [&](std::int32_t token) { seen.push_back(token); });
  CHECK(text.size() == 12);
  CHECK(seen == text);
  CHECK(generate(tiny.ctx, tiny.model, prompt, options) == text);
  CHECK(generate(tiny.ctx, tiny.model, prompt, {.max_tokens = 12, .seed = 6}) != text);
  CHECK(generate(tiny.ctx, tiny.model, prompt, {.max_tokens = 12, .seed = 5, .sequence = 1}) !=
        text);
  CHECK(tiny.ctx.is_training());  // dropout was off, and is as it was before

  Text longer = prompt;
  longer.insert(longer.end(), text.begin(), text.begin() + 5);
  CHECK(generate(tiny.ctx, tiny.model, longer, {.max_tokens = 7, .seed = 5}) ==
        Text(text.begin() + 5, text.end()));
}

TEST_CASE("a text longer than the window goes on from its last half", "[models]") {
  TinyGpt tiny(/*seed=*/8, /*max_seq_len=*/6);
  const GenerationOptions greedy = {.max_tokens = 12, .sampling = {.temperature = 0}};
  Text text = {4, 1};
  for (const std::int32_t token : generate(tiny.ctx, tiny.model, text, greedy)) {
    // The window grows to 6 tokens, then falls back to the last 3.
    const std::size_t length = text.size();
    const std::size_t window = length <= 6 ? length : 3 + (length - 7) % 4;
    const Text tail(text.end() - static_cast<std::ptrdiff_t>(window), text.end());
    const Text next =
        generate(tiny.ctx, tiny.model, tail, {.max_tokens = 1, .sampling = {.temperature = 0}});
    CHECK(next == Text{token});
    text.push_back(token);
  }
  CHECK(text.size() == 14);

  const Text long_prompt = {9, 9, 9, 9, 1, 2, 3, 4, 5, 6};
  const Text its_tail = {1, 2, 3, 4, 5, 6};
  CHECK(generate(tiny.ctx, tiny.model, long_prompt, greedy) ==
        generate(tiny.ctx, tiny.model, its_tail, greedy));
}

TEST_CASE("columns that pad the vocabulary are never drawn", "[models]") {
  TinyGpt tiny(/*seed=*/9);
  Parameter* wte = tiny.model.parameters().find("transformer.wte.weight");
  REQUIRE(wte != nullptr);
  Parameter* bias = tiny.model.parameters().find("transformer.ln_f.bias");
  REQUIRE(bias != nullptr);
  fill(bias->value, 1.0);
  fill(wte->value.slice(11, 16), 100.0);  // their logits are the largest by far
  for (const double temperature : {0.0, 1.0}) {
    const Text text =
        generate(tiny.ctx, tiny.model, Text{0}, {.max_tokens = 15, .sampling = {temperature}});
    CHECK(*std::max_element(text.begin(), text.end()) < 11);
    const Text narrow =
        generate(tiny.ctx, tiny.model, Text{0},
                 {.max_tokens = 15, .sampling = {.temperature = temperature}, .vocab_size = 2});
    CHECK(*std::max_element(narrow.begin(), narrow.end()) < 2);
  }
}

TEST_CASE("a prompt that cannot be continued is refused", "[models]") {
  TinyGpt tiny(/*seed=*/1);
  CHECK_THROWS_WITH(generate(tiny.ctx, tiny.model, {}, {}),
                    Equals("generate: the prompt is empty; expected at least one token"));
  CHECK_THROWS_WITH(generate(tiny.ctx, tiny.model, Text{0, 11}, {}),
                    Equals("generate: token 11 in the prompt; expected less than vocab_size 11"));
  CHECK(generate(tiny.ctx, tiny.model, Text{0}, {.max_tokens = 0}).empty());
}

}  // namespace
}  // namespace ghost
