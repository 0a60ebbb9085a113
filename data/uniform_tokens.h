#pragma once

#include <cstdint>
#include <filesystem>

namespace ghost {

/// Independent uniform tokens: a text that nothing can be predicted of. A model that sees no token
/// behind its position cannot have a loss below ln vocab_size on it.
struct UniformTokensOptions {
  std::filesystem::path output = {};
  std::int32_t vocab_size = 8;
  std::int64_t train_tokens = 1'000'000;
  std::int64_t val_tokens = 100'000;
  std::uint64_t seed = 1;
  bool force = false;  // replace an output that is there
};

/// Writes `OUTPUT/train_000000.bin`, `val_000000.bin` and `info.json`; no tokenizer, as the tokens
/// stand for no text. The directory appears complete or not at all.
/// Throws ghost::Error when a count is not positive or the output is there (unless `force`, which
/// replaces only prepared sets).
void write_uniform_tokens(const UniformTokensOptions& options);

}  // namespace ghost
