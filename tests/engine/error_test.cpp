#include "engine/core/error.h"

#include "tests/support/catch.h"

namespace ghost {
namespace {

TEST_CASE("a failed check throws its formatted message", "[core]") {
  const auto check = [](int rank) { GHOST_CHECK(rank < 8, "rank {} of {}", rank, 8); };
  CHECK_NOTHROW(check(7));
  CHECK_THROWS_WITH(check(9), "rank 9 of 8");
}

TEST_CASE("a ConfigError is an Error that the command line can tell apart", "[core]") {
  CHECK_THROWS_AS(fail<ConfigError>("unknown key {}", "a.b"), Error);
  CHECK_THROWS_AS(fail<ConfigError>("unknown key {}", "a.b"), ConfigError);
}

}  // namespace
}  // namespace ghost
