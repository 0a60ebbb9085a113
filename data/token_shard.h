#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/io/file.h"

namespace ghost {

enum class ShardFormat {
  kAuto,     // llm.c by its magic number; anything else is an error
  kLlmc,     // llm.c and modded-nanogpt: 1024-byte header, uint16 or uint32 tokens
  kNanogpt,  // nanoGPT: uint16 tokens and nothing else
};

/// True when the file begins with one of llm.c's magic numbers. Throws ghost::Error when it cannot
/// be read.
bool has_shard_magic(const std::filesystem::path& path);

/// Tokens in one file, memory-mapped.
///
/// llm.c's header is 256 little-endian int32: magic 20240520, version 1 (uint16 tokens) or magic
/// 20240801, version 7 (uint32 tokens), the number of tokens, zeros. The file's size must agree.
/// source  karpathy/llm.c dev/data/data_common.py, llmc/dataloader.h
class TokenShard {
 public:
  /// Throws ghost::Error naming the file: unreadable, not a shard, truncated, oversized, empty.
  explicit TokenShard(const std::filesystem::path& path, ShardFormat format = ShardFormat::kAuto);

  std::int64_t num_tokens() const { return num_tokens_; }
  int bytes_per_token() const { return bytes_per_token_; }

  /// kLlmc or kNanogpt.
  ShardFormat format() const { return format_; }
  const std::filesystem::path& path() const { return file_.path(); }

  /// Fills `tokens` from token `begin` on; the range must lie inside of the shard. Throws
  /// ghost::Error naming the file, the position and the token where one is >= vocab_size (unless
  /// that is 0) or, read as uint32, does not fit an int32.
  void read(std::int64_t begin, std::span<std::int32_t> tokens, std::int64_t vocab_size = 0) const;

  /// The largest token; reads the whole file.
  std::int64_t max_token() const;

 private:
  void read_header();

  MappedFile file_;
  ShardFormat format_;
  int bytes_per_token_ = 2;
  std::int64_t header_bytes_ = 0;
  std::int64_t num_tokens_ = 0;
};

/// Writes llm.c shards `DIR/NAME_000000.bin`, `DIR/NAME_000001.bin`, ... Each file appears complete
/// or not at all. Tokens are uint16 while the vocabulary fits, else uint32.
class TokenShardWriter {
 public:
  struct Options {
    std::filesystem::path directory = {};
    std::string name = {};
    std::int32_t vocab_size = 0;
    std::int64_t shard_tokens = 100'000'000;  // of a full shard; one shard is held in memory
  };
  explicit TokenShardWriter(Options options);

  /// Throws ghost::Error on a token outside of the vocabulary and when a file cannot be written.
  void append(std::span<const std::int32_t> tokens);

  /// Writes what is left and returns the files, in order.
  std::vector<std::filesystem::path> finish();

  std::int64_t num_tokens() const { return num_tokens_; }

 private:
  void write_shard();

  Options options_;
  std::vector<std::byte> buffer_;
  std::int64_t num_tokens_ = 0;
  std::vector<std::filesystem::path> files_;
};

/// Writes one llm.c shard (at most 2^31 - 1 tokens) atomically.
void write_token_shard(const std::filesystem::path& path, std::span<const std::int32_t> tokens,
                       std::int32_t vocab_size);

}  // namespace ghost
