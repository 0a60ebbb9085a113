#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/token_shard.h"

namespace ghost {

/// The files that `pattern` (a file name or a shell glob, several separated by commas) matches
/// below `root`, each part sorted by name. Throws ghost::Error naming the part that matches
/// nothing.
std::vector<std::filesystem::path> match_files(const std::filesystem::path& root,
                                               std::string_view pattern);

/// Shards as one stream of tokens with 64-bit indices.
class TokenDataset {
 public:
  struct Options {
    ShardFormat format = ShardFormat::kAuto;
    std::int64_t vocab_size = 0;  // 0: any token; else a read of a token >= vocab_size throws
  };

  /// Opens every shard, so that a bad one is found now. Throws ghost::Error naming the file; with
  /// a vocab_size also for tokens of small sets (up to 64 Mi tokens, which are scanned at once).
  TokenDataset(const std::vector<std::filesystem::path>& files, Options options);

  std::int64_t num_tokens() const { return ends_.back(); }
  const std::vector<TokenShard>& shards() const { return shards_; }

  /// Tokens of each shard, in order.
  std::vector<std::int64_t> shard_tokens() const;

  /// First file, and how many more there are: what messages call this set.
  std::string name() const;

  /// Fills `tokens` from index `begin` of the stream on; a range may cross shards. Throws
  /// ghost::Error when it leaves the stream, or on a token >= vocab_size (file, position, token).
  void read(std::int64_t begin, std::span<std::int32_t> tokens) const;

 private:
  void check_vocab() const;

  Options options_;
  std::vector<TokenShard> shards_;
  std::vector<std::int64_t> ends_;  // index one past the last token of each shard
};

}  // namespace ghost
