#include "data/uniform_tokens.h"

#include <algorithm>
#include <cmath>

#include "data/token_shard.h"
#include "engine/core/error.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_directory.h"

namespace ghost {
namespace {

using test::TemporaryDirectory;

std::vector<std::int32_t> tokens_of(const std::filesystem::path& file) {
  const TokenShard shard(file);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(shard.num_tokens()));
  shard.read(0, tokens);
  return tokens;
}

TEST_CASE("uniform tokens are uniform, and neighbours are independent", "[data]") {
  const TemporaryDirectory dir;
  write_uniform_tokens(
      {.output = dir / "u", .vocab_size = 6, .train_tokens = 72'000, .val_tokens = 500});
  const auto tokens = tokens_of(dir / "u/train_000000.bin");
  REQUIRE(tokens.size() == 72'000);
  CHECK(tokens_of(dir / "u/val_000000.bin").size() == 500);
  std::vector<int> pairs(36);
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    REQUIRE(tokens[i] >= 0);
    REQUIRE(tokens[i] < 6);
    ++pairs[static_cast<std::size_t>(6 * tokens[i] + tokens[i + 1])];
  }
  for (const int count : pairs) {
    CHECK(std::abs(count - 2000) < 5 * 45);  // five standard deviations
  }
}

TEST_CASE("uniform tokens hang on their seed alone", "[data]") {
  const TemporaryDirectory dir;
  const auto write = [&](const char* name, std::uint64_t seed) {
    write_uniform_tokens(
        {.output = dir / name, .train_tokens = 100, .val_tokens = 100, .seed = seed});
    return tokens_of(dir / name / "train_000000.bin");
  };
  const auto first = write("a", 1);
  CHECK(write("b", 1) == first);
  CHECK(write("c", 2) != first);
  CHECK(tokens_of(dir / "a/val_000000.bin") != first);
}

TEST_CASE("uniform tokens replace a set only when told", "[data]") {
  const TemporaryDirectory dir;
  UniformTokensOptions options{.output = dir / "u", .train_tokens = 10, .val_tokens = 10};
  write_uniform_tokens(options);
  CHECK_THROWS_WITH(write_uniform_tokens(options),
                    (dir / "u").string() + " is there already; pass --force to replace it");
  options.force = true;
  options.train_tokens = 20;
  write_uniform_tokens(options);
  CHECK(tokens_of(dir / "u/train_000000.bin").size() == 20);
  options.val_tokens = 0;
  CHECK_THROWS_WITH(write_uniform_tokens(options),
                    "uniform tokens: vocabulary 8, 20 for training, 0 for validation; expected "
                    "positive numbers");
}

}  // namespace
}  // namespace ghost
