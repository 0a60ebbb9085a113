#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "models/language_model.h"

namespace ghost {

/// How the next token is drawn from logits. Applied in this order: temperature, top_k, top_p.
struct SamplingOptions {
  double temperature = 1;  // logits are divided by it; 0: always the most likely token
  std::int64_t top_k = 0;  // only the k most likely tokens; 0: all
  double top_p = 1;        // of these, the fewest most likely whose share reaches top_p

  /// Throws ghost::ConfigError naming PREFIX + the option, and the allowed range.
  void validate(const std::string& prefix) const;
};

/// A token drawn from `logits` [V] by `uniform` in [0, 1): a pure function of its arguments. Of
/// equal logits the lower token counts as the more likely one.
/// Throws ghost::Error when there is no finite logit, or one is NaN or positive infinity.
/// source  Holtzman et al. 2020, arXiv:1904.09751 (top_p)
std::int32_t sample_token(std::span<const double> logits, const SamplingOptions& options,
                          double uniform);

struct GenerationOptions {
  std::int64_t max_tokens = 256;
  SamplingOptions sampling;
  std::uint64_t seed = 0;
  std::int64_t sequence = 0;    // numbers the texts that one seed gives
  std::int64_t vocab_size = 0;  // only tokens below it are drawn; 0: all that the model has
};

/// Continues `prompt` (at least one token) by `max_tokens` tokens and returns these; `on_token`
/// sees each as soon as it is drawn. Columns that only pad the vocabulary are never drawn.
///
/// The draw of a token is numbered by its position in the text, so the same seed gives the same
/// text, also when a part of it is handed in again as the prompt.
///
/// Where the text outgrows max_seq_len, the model forgets: it reads the last max_seq_len / 2 tokens
/// anew, as positions 0 and up, and goes on from there. Of a longer prompt only the last
/// max_seq_len tokens are read.
///
/// Throws ghost::Error on an empty prompt and on tokens that the model does not have.
std::vector<std::int32_t> generate(Context& ctx, LanguageModel& model,
                                   std::span<const std::int32_t> prompt,
                                   const GenerationOptions& options,
                                   const std::function<void(std::int32_t)>& on_token = {});

}  // namespace ghost
