#pragma once

#include <memory>
#include <optional>

#include "data/dataset.h"
#include "data/tokenizer.h"
#include "tools/run/run_config.h"

namespace ghost {

/// The token sets that a config names, opened and checked.
struct RunData {
  std::unique_ptr<Tokenizer> tokenizer;  // null when the set has no side file
  std::int64_t vocab_size = 0;           // of the tokenizer; 0 without one
  std::optional<TokenDataset> train;
  std::optional<TokenDataset> val;
};

/// Throws ghost::ConfigError naming key and file when a set cannot be opened or does not fit.
RunData open_run_data(const Config& config);

/// Tokens of the model's vocabulary: model.vocab_size, or else the tokenizer's. Opens no token
/// files; throws ghost::ConfigError when neither says.
std::int64_t vocab_size_of(const Config& config);

}  // namespace ghost
