#include "engine/config/byte_size.h"

#include "tests/support/catch.h"

namespace ghost {
namespace {

TEST_CASE("byte sizes are read with their units", "[config]") {
  CHECK(parse_byte_size("4096") == 4096);
  CHECK(parse_byte_size("1.5 GiB") == 1610612736);
  CHECK(parse_byte_size("800MB") == 800000000);
  CHECK(parse_byte_size("2kib") == 2048);
  for (const std::string_view bad :
       {"", "GiB", "-1", "0", "1 parsec", "1e300 TiB", "nan", "1 G B x"}) {
    INFO(bad);
    CHECK_FALSE(parse_byte_size(bad).has_value());
  }
}

}  // namespace
}  // namespace ghost
