#include "models/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "engine/config/check_range.h"
#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"

namespace ghost {
namespace {

/// Uniform in [0, 1) with all 53 bits of a double.
double uniform_at(const GenerationOptions& options, std::int64_t position) {
  const RandomStream stream{
      .seed = options.seed, .step = options.sequence, .purpose = Purpose::kGeneration};
  const Philox::Words words = stream.words(static_cast<std::uint32_t>(position));
  const std::uint64_t bits = (static_cast<std::uint64_t>(words[0]) << 32 | words[1]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

/// All tokens, the most likely ones first where `options` asks for some of them only: then only
/// those that can be drawn.
std::vector<std::int32_t> candidates(std::span<const double> logits,
                                     const SamplingOptions& options) {
  std::vector<std::int32_t> tokens(logits.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  const auto count = static_cast<std::ptrdiff_t>(tokens.size());
  const auto kept = options.top_k > 0 ? std::min<std::ptrdiff_t>(options.top_k, count) : count;
  if (kept < count || options.top_p < 1) {
    std::partial_sort(tokens.begin(), tokens.begin() + kept, tokens.end(),
                      [&](std::int32_t a, std::int32_t b) {
                        const double left = logits[static_cast<std::size_t>(a)];
                        const double right = logits[static_cast<std::size_t>(b)];
                        return left != right ? left > right : a < b;
                      });
    tokens.resize(static_cast<std::size_t>(kept));
  }
  return tokens;
}

/// The first `vocab_size` logits after the only sequence's last token.
std::vector<double> next_logits(const Tensor& logits, std::int64_t vocab_size) {
  std::vector<double> row(static_cast<std::size_t>(vocab_size));
  const Tensor host = on_host(logits);
  visit_floating(logits.dtype(), [&]<typename T>() {
    std::transform(host.data<T>(), host.data<T>() + vocab_size, row.begin(),
                   [](T logit) { return to_double(logit); });
  });
  return row;
}

constexpr std::int64_t kPieceTokens = 512;

/// A text that a model reads and continues, seen through the model's window.
class Reader {
 public:
  Reader(Context& ctx, LanguageModel& model, std::span<const std::int32_t> prompt,
         std::int64_t max_tokens)
      : ctx_(ctx), model_(model), text_(prompt.begin(), prompt.end()) {
    // The last token is drawn and never read.
    const std::int64_t longest = num_tokens() + max_tokens - 1;
    capacity_ = model.max_seq_len() > 0 ? std::min(model.max_seq_len(), longest) : longest;
    restart(std::min(capacity_, num_tokens()));
  }

  std::int64_t num_tokens() const { return static_cast<std::int64_t>(text_.size()); }
  const Tensor& logits() const { return logits_; }

  void read(std::int32_t token) {
    text_.push_back(token);
    if (state_.length == capacity_) {
      restart(std::max<std::int64_t>(1, capacity_ / 2));
    } else {
      step(1);
    }
  }

 private:
  void restart(std::int64_t length) {
    state_ = {};  // returns its memory before more is asked for
    state_ = model_.start(ctx_, /*batch=*/1, capacity_);
    step(length);
  }

  /// Reads the last `length` tokens of the text, in pieces, so that the activations of a long
  /// prompt are never there all at once.
  void step(std::int64_t length) {
    while (length > 0) {
      const std::int64_t piece = std::min(length, kPieceTokens);
      const Tensor tokens = ctx_.empty({1, piece}, DType::kI32, MemoryTag::kBatch);
      const Tensor place = host_place(tokens);
      std::copy_n(text_.end() - length, piece, place.data<std::int32_t>());
      copy(tokens, place);
      logits_ = model_.step(ctx_, tokens, state_);
      length -= piece;
    }
  }

  Context& ctx_;
  LanguageModel& model_;
  std::vector<std::int32_t> text_;
  std::int64_t capacity_ = 0;
  GenerationState state_;
  Tensor logits_;  // [1, padded_vocab_size]
};

/// Dropout is off for its lifetime.
class NoTraining {
 public:
  explicit NoTraining(Context& ctx) : ctx_(ctx), before_(ctx.is_training()) {
    ctx.set_training(false);
  }
  ~NoTraining() { ctx_.set_training(before_); }
  NoTraining(const NoTraining&) = delete;
  NoTraining& operator=(const NoTraining&) = delete;

 private:
  Context& ctx_;
  bool before_;
};

}  // namespace

void SamplingOptions::validate(const std::string& prefix) const {
  check_range(std::isfinite(temperature) && temperature >= 0, prefix + "temperature", temperature,
              "zero or a positive number");
  check_range(top_k >= 0, prefix + "top_k", top_k, "zero or a positive integer");
  check_range(top_p > 0 && top_p <= 1, prefix + "top_p", top_p, "above 0 and at most 1");
}

std::int32_t sample_token(std::span<const double> logits, const SamplingOptions& options,
                          double uniform) {
  GHOST_CHECK(!logits.empty(), "sample_token: no logits; expected at least one");
  for (std::size_t i = 0; i < logits.size(); ++i) {
    GHOST_CHECK(logits[i] < std::numeric_limits<double>::infinity(),
                "sample_token: the logit of token {} is {}; expected a finite number", i,
                logits[i]);
  }
  const auto largest = std::max_element(logits.begin(), logits.end());
  GHOST_CHECK(std::isfinite(*largest),
              "sample_token: every logit is -inf; expected at least one finite number");
  if (options.temperature == 0) {
    return static_cast<std::int32_t>(largest - logits.begin());
  }
  std::vector<std::int32_t> tokens = candidates(logits, options);
  std::vector<double> weights;
  weights.reserve(tokens.size());
  for (const std::int32_t token : tokens) {
    weights.push_back(
        std::exp((logits[static_cast<std::size_t>(token)] - *largest) / options.temperature));
  }
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (options.top_p < 1) {
    double sum = 0;
    std::size_t kept = 0;
    while (kept < weights.size() && sum < options.top_p * total) {
      sum += weights[kept++];
    }
    tokens.resize(kept);
    total = sum;
  }
  double below = 0;
  std::size_t last = 0;  // rounding may leave uniform * total at the very end
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (weights[i] > 0) {
      last = i;
      below += weights[i];
      if (uniform * total < below) {
        break;
      }
    }
  }
  return tokens[last];
}

std::vector<std::int32_t> generate(Context& ctx, LanguageModel& model,
                                   std::span<const std::int32_t> prompt,
                                   const GenerationOptions& options,
                                   const std::function<void(std::int32_t)>& on_token) {
  GHOST_CHECK(!prompt.empty(), "generate: the prompt is empty; expected at least one token");
  for (const std::int32_t token : prompt) {
    GHOST_CHECK(token >= 0 && token < model.vocab_size(),
                "generate: token {} in the prompt; expected less than vocab_size {}", token,
                model.vocab_size());
  }
  std::vector<std::int32_t> generated;
  if (options.max_tokens <= 0) {
    return generated;
  }
  const NoTraining no_training(ctx);
  Reader reader(ctx, model, prompt, options.max_tokens);
  const std::int64_t vocab_size = options.vocab_size > 0
                                      ? std::min(options.vocab_size, model.vocab_size())
                                      : model.vocab_size();
  const auto num_prompt = static_cast<std::int64_t>(prompt.size());
  for (std::int64_t i = 0; i < options.max_tokens; ++i) {
    if (i > 0) {
      reader.read(generated.back());
    }
    const std::int32_t token = sample_token(next_logits(reader.logits(), vocab_size),
                                            options.sampling, uniform_at(options, num_prompt + i));
    generated.push_back(token);
    if (on_token) {
      on_token(token);
    }
  }
  return generated;
}

}  // namespace ghost
