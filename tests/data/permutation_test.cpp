#include "data/permutation.h"

#include <set>
#include <vector>

#include "tests/support/catch.h"

namespace ghost {
namespace {

TEST_CASE("a permutation meets every index once", "[data]") {
  for (const std::int64_t size : {1, 2, 3, 5, 16, 17, 1000, 4097}) {
    const IndexPermutation permutation(/*seed=*/7, /*epoch=*/0, /*stream=*/0, size);
    std::vector<bool> seen(static_cast<std::size_t>(size));
    for (std::int64_t i = 0; i < size; ++i) {
      const std::int64_t value = permutation(i);
      REQUIRE(value >= 0);
      REQUIRE(value < size);
      REQUIRE_FALSE(seen[static_cast<std::size_t>(value)]);
      seen[static_cast<std::size_t>(value)] = true;
    }
  }
}

TEST_CASE("seed, epoch and stream each give another permutation", "[data]") {
  const auto first_values = [](std::uint64_t seed, std::uint32_t epoch, std::uint32_t stream) {
    const IndexPermutation permutation(seed, epoch, stream, 1000000);
    return std::vector<std::int64_t>{permutation(0), permutation(1), permutation(2)};
  };
  const std::set<std::vector<std::int64_t>> different = {
      first_values(1, 0, 0), first_values(2, 0, 0), first_values(std::uint64_t{1} << 32, 0, 0),
      first_values(1, 1, 0), first_values(1, 0, 1)};
  CHECK(different.size() == 5);
  CHECK(first_values(1, 0, 0) == first_values(1, 0, 0));
}

TEST_CASE("a permutation of more than 2^32 values works", "[data]") {
  const std::int64_t size = (std::int64_t{1} << 40) + 12345;
  const IndexPermutation permutation(3, 0, 0, size);
  std::set<std::int64_t> values;
  bool is_wide = false;
  for (std::int64_t i = 0; i < 1000; ++i) {
    const std::int64_t value = permutation(size - 1 - i);
    REQUIRE(value >= 0);
    REQUIRE(value < size);
    values.insert(value);
    is_wide = is_wide || value > (std::int64_t{1} << 33);
  }
  CHECK(values.size() == 1000);
  CHECK(is_wide);
}

// Each of 8 values should stand first in about an eighth of 4000 epochs: 500, with a standard
// deviation of 21; 6 deviations are allowed.
TEST_CASE("every value comes first equally often", "[data]") {
  std::vector<int> counts(8);
  for (std::uint32_t epoch = 0; epoch < 4000; ++epoch) {
    ++counts[static_cast<std::size_t>(IndexPermutation(5, epoch, 0, 8)(0))];
  }
  for (const int count : counts) {
    CHECK(count > 374);
    CHECK(count < 626);
  }
}

TEST_CASE("a permutation of nothing is refused", "[data]") {
  CHECK_THROWS_WITH(IndexPermutation(1, 0, 0, 0), "permutation of 0 values; expected at least one");
}

}  // namespace
}  // namespace ghost
