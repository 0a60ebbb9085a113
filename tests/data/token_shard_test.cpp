#include "data/token_shard.h"

#include <cstring>
#include <numeric>

#include "tests/data/test_files.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

using Tokens = std::vector<std::int32_t>;

Tokens read_all(const TokenShard& shard) {
  Tokens tokens(static_cast<std::size_t>(shard.num_tokens()));
  shard.read(0, tokens);
  return tokens;
}

/// A shard's bytes with any header, for the files that must be refused.
std::string shard_bytes(std::int32_t magic, std::int32_t version, std::int32_t count,
                        std::size_t body_bytes) {
  std::string bytes(1024 + body_bytes, '\0');
  const std::array<std::int32_t, 3> header = {magic, version, count};
  std::memcpy(bytes.data(), header.data(), sizeof header);
  return bytes;
}

TEST_CASE("a shard of 16-bit tokens has llm.c's bytes", "[data]") {
  const TestDir dir;
  write_token_shard(dir / "a.bin", Tokens{1, 50256, 65535}, 65536);
  const std::string bytes = read_text(dir / "a.bin");
  REQUIRE(bytes.size() == 1024 + 6);
  CHECK(bytes.substr(0, 12) == std::string("\x88\xd8\x34\x01\x01\0\0\0\x03\0\0\0", 12));
  CHECK(bytes.substr(12, 1012) == std::string(1012, '\0'));
  CHECK(bytes.substr(1024) == std::string("\x01\0\x50\xc4\xff\xff", 6));
  const TokenShard shard(dir / "a.bin");
  CHECK(shard.format() == ShardFormat::kLlmc);
  CHECK(shard.bytes_per_token() == 2);
  CHECK(shard.max_token() == 65535);
  CHECK(read_all(shard) == Tokens{1, 50256, 65535});
}

TEST_CASE("a larger vocabulary gives 32-bit tokens", "[data]") {
  const TestDir dir;
  write_token_shard(dir / "a.bin", Tokens{1, 128000}, 128256);
  CHECK(read_text(dir / "a.bin").size() == 1024 + 8);
  const TokenShard shard(dir / "a.bin");
  CHECK(shard.bytes_per_token() == 4);
  CHECK(shard.max_token() == 128000);
  CHECK(read_all(shard) == Tokens{1, 128000});
}

TEST_CASE("part of a shard is read in place", "[data]") {
  const TestDir dir;
  Tokens tokens(100);
  std::iota(tokens.begin(), tokens.end(), 0);
  write_token_shard(dir / "a.bin", tokens, 100);
  Tokens part(3);
  TokenShard(dir / "a.bin").read(97, part);
  CHECK(part == Tokens{97, 98, 99});
  CHECK_THROWS_WITH(TokenShard(dir / "a.bin").read(98, part),
                    (dir / "a.bin").string() + ": tokens 98 to 101 asked for; the shard has 100");
}

TEST_CASE("a nanoGPT file is raw uint16", "[data]") {
  const TestDir dir;
  const auto path = dir.write("train.bin", std::string("\x05\0\xff\xc3", 4));
  const TokenShard shard(path, ShardFormat::kNanogpt);
  CHECK(shard.format() == ShardFormat::kNanogpt);
  CHECK(read_all(shard) == Tokens{5, 50175});
}

TEST_CASE("the writer splits shards and numbers them", "[data]") {
  const TestDir dir;
  TokenShardWriter writer(
      {.directory = dir.path(), .name = "train", .vocab_size = 256, .shard_tokens = 4});
  writer.append(Tokens{0, 1, 2});
  writer.append(Tokens{3, 4, 5, 6, 7, 8});
  const auto files = writer.finish();
  REQUIRE(files.size() == 3);
  CHECK(files[0].filename() == "train_000000.bin");
  CHECK(read_all(TokenShard(files[0])) == Tokens{0, 1, 2, 3});
  CHECK(read_all(TokenShard(files[1])) == Tokens{4, 5, 6, 7});
  CHECK(read_all(TokenShard(files[2])) == Tokens{8});
  CHECK(writer.num_tokens() == 9);
}

TEST_CASE("the writer refuses tokens past the vocabulary", "[data]") {
  const TestDir dir;
  CHECK_THROWS_WITH(
      write_token_shard(dir / "a.bin", Tokens{1, 256}, 256),
      (dir / "a.bin").string() + ": token 256 to be written; tokens >= vocab_size 256");
  CHECK_FALSE(std::filesystem::exists(dir / "a.bin"));
  CHECK_THROWS_WITH(TokenShardWriter({.directory = dir.path(), .shard_tokens = 0}),
                    "shard_tokens is 0; expected a positive number");
}

TEST_CASE("a read token past the vocabulary is named with its place", "[data]") {
  const TestDir dir;
  write_token_shard(dir / "a.bin", Tokens{1, 2, 99, 100, 3}, 101);
  const TokenShard shard(dir / "a.bin");
  Tokens window(3);
  CHECK_NOTHROW(shard.read(0, window, 100));
  CHECK_THROWS_WITH(
      shard.read(1, window, 100),
      (dir / "a.bin").string() + ": token 100 at position 3: tokens >= vocab_size 100");
  auto bytes = shard_bytes(20240801, 7, 1, 4);
  bytes[1027] = '\x80';
  Tokens one(1);
  CHECK_THROWS_WITH(TokenShard(dir.write("b.bin", bytes)).read(0, one),
                    (dir / "b.bin").string() +
                        ": token 2147483648 at position 0: tokens >= vocab_size 2147483648");
}

TEST_CASE("files that are no shards are refused", "[data]") {
  const TestDir dir;
  const auto refused = [&](const std::string& bytes, const std::string& message,
                           ShardFormat format = ShardFormat::kAuto) {
    const auto path = dir.write("x.bin", bytes);
    CHECK_THROWS_WITH(TokenShard(path, format), path.string() + ": " + message);
  };
  refused("short", "truncated token shard: expected a header of 1024 bytes, found 5");
  refused(shard_bytes(20240520, 1, 4, 8).substr(0, 100),
          "truncated token shard: expected a header of 1024 bytes, found 100");
  refused(
      shard_bytes(7, 1, 4, 8),
      "not an llm.c token shard: begins with 7, expected 20240520 or 20240801 (raw uint16 files "
      "of nanoGPT need format nanogpt)");
  refused(shard_bytes(20240520, 2, 4, 8),
          "token shard of version 2; expected 1 with magic 20240520");
  refused(shard_bytes(20240801, 1, 4, 16),
          "token shard of version 1; expected 7 with magic 20240801");
  refused(shard_bytes(20240520, 1, -4, 8), "token shard with -4 tokens in its header");
  refused(shard_bytes(20240520, 1, 4, 6),
          "truncated token shard: expected 1032 bytes for 4 tokens, found 1030");
  refused(shard_bytes(20240520, 1, 4, 10),
          "oversized token shard: expected 1032 bytes for 4 tokens, found 1034");
  refused(shard_bytes(20240520, 1, 0, 0), "token shard holds no tokens");
  refused("", "token shard holds no tokens", ShardFormat::kNanogpt);
  refused("abc", "3 bytes; a nanoGPT file of uint16 tokens has an even number",
          ShardFormat::kNanogpt);
}

}  // namespace
}  // namespace ghost
