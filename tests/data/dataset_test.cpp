#include "data/dataset.h"

#include <numeric>

#include <fmt/format.h>

#include "tests/data/test_files.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

using Tokens = std::vector<std::int32_t>;

/// 0, 1, 2, ... over three shards of 3, 1 and 6 tokens.
class ThreeShards : public TestDir {
 public:
  ThreeShards() {
    write_token_shard(*this / "train_0.bin", Tokens{0, 1, 2}, 100);
    write_token_shard(*this / "train_1.bin", Tokens{3}, 100);
    write_token_shard(*this / "train_2.bin", Tokens{4, 5, 6, 7, 8, 9}, 100);
  }
};

TEST_CASE("shards are one stream", "[data]") {
  const ThreeShards dir;
  const TokenDataset dataset(match_files(dir.path(), "train_*.bin"), {});
  CHECK(dataset.num_tokens() == 10);
  CHECK(dataset.shard_tokens() == std::vector<std::int64_t>{3, 1, 6});
  for (std::int64_t begin = 0; begin < 10; ++begin) {
    for (std::int64_t count = 1; begin + count <= 10; ++count) {
      Tokens expected(static_cast<std::size_t>(count));
      std::iota(expected.begin(), expected.end(), static_cast<std::int32_t>(begin));
      Tokens read(static_cast<std::size_t>(count));
      dataset.read(begin, read);
      CHECK(read == expected);
    }
  }
  Tokens two(2);
  CHECK_THROWS_WITH(
      dataset.read(9, two),
      (dir / "train_0.bin").string() + " and 2 more: tokens 9 to 11 asked for; the stream has 10");
}

TEST_CASE("a pattern names files below the root", "[data]") {
  const ThreeShards dir;
  CHECK(match_files(dir.path(), "train_1.bin").size() == 1);
  const auto files = match_files(dir.path(), "train_2.bin,train_[01].bin");
  REQUIRE(files.size() == 3);
  CHECK(files[0].filename() == "train_2.bin");
  CHECK(files[1].filename() == "train_0.bin");
  CHECK(match_files("/nowhere", (dir / "train_1.bin").string()).size() == 1);
}

TEST_CASE("a pattern that matches nothing is named", "[data]") {
  const ThreeShards dir;
  const auto message = [&](std::string_view name) {
    return fmt::format("no data file matches {}; `ghostgrad data` fetches and prepares data",
                       (dir / name).string());
  };
  CHECK_THROWS_WITH(match_files(dir.path(), "val.bin"), message("val.bin"));
  CHECK_THROWS_WITH(match_files(dir.path(), "train_*.bin,val_*.bin"), message("val_*.bin"));
}

TEST_CASE("a dataset of no files is refused", "[data]") {
  CHECK_THROWS_WITH(TokenDataset({}, {}), "dataset of no files; expected at least one shard");
}

TEST_CASE("a dataset with tokens past the vocabulary is refused when opened", "[data]") {
  const ThreeShards dir;
  const auto files = match_files(dir.path(), "train_*.bin");
  CHECK_NOTHROW(TokenDataset(files, {.vocab_size = 10}));
  CHECK_THROWS_WITH(
      TokenDataset(files, {.vocab_size = 7}),
      (dir / "train_2.bin").string() + ": token 7 at position 3: tokens >= vocab_size 7");
}

}  // namespace
}  // namespace ghost
