#include "data/uniform_tokens.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "data/output_directory.h"
#include "data/token_shard.h"
#include "engine/core/error.h"
#include "engine/io/file.h"
#include "engine/random/philox.h"

namespace ghost {
namespace {

constexpr std::string_view kInfoFile = "info.json";
constexpr std::int64_t kPieceTokens = 1 << 16;

/// Draws of one split. `split` keeps the two apart.
void write_split(const UniformTokensOptions& options, const std::filesystem::path& directory,
                 std::string_view name, std::int64_t split, std::int64_t num_tokens) {
  TokenShardWriter writer(
      {.directory = directory, .name = std::string(name), .vocab_size = options.vocab_size});
  std::vector<std::uint32_t> words;
  std::vector<std::int32_t> tokens;
  for (std::int64_t written = 0, piece = 0; written < num_tokens; ++piece) {
    const auto count = static_cast<std::size_t>(std::min(kPieceTokens, num_tokens - written));
    words.resize(count);
    tokens.resize(count);
    const RandomStream stream{
        .seed = options.seed, .step = piece, .site = split, .purpose = Purpose::kBatch};
    stream.fill(0, words);
    std::transform(words.begin(), words.end(), tokens.begin(), [&](std::uint32_t word) {
      return static_cast<std::int32_t>((std::uint64_t{word} * options.vocab_size) >> 32);
    });
    writer.append(tokens);
    written += static_cast<std::int64_t>(count);
  }
  writer.finish();
}

}  // namespace

void write_uniform_tokens(const UniformTokensOptions& options) {
  GHOST_CHECK(
      options.vocab_size > 0 && options.train_tokens > 0 && options.val_tokens > 0,
      "uniform tokens: vocabulary {}, {} for training, {} for validation; expected positive "
      "numbers",
      options.vocab_size, options.train_tokens, options.val_tokens);
  OutputDirectory output(options.output, kInfoFile, options.force);
  write_split(options, output.temporary(), "train", 0, options.train_tokens);
  write_split(options, output.temporary(), "val", 1, options.val_tokens);
  const nlohmann::ordered_json info = {{"format", "llmc"},
                                       {"source", "independent uniform tokens"},
                                       {"vocab_size", options.vocab_size},
                                       {"seed", options.seed},
                                       {"train_tokens", options.train_tokens},
                                       {"val_tokens", options.val_tokens}};
  write_file_atomically(output.temporary() / kInfoFile, info.dump(1) + "\n");
  output.commit();
}

}  // namespace ghost
