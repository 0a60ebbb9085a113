#include "tools/console/quantity.h"

#include <cmath>
#include <limits>

#include "tests/support/catch.h"

namespace ghost {
namespace {

TEST_CASE("counts are grouped by thousands", "[console]") {
  CHECK(format_count(0) == "0");
  CHECK(format_count(999) == "999");
  CHECK(format_count(1000) == "1,000");
  CHECK(format_count(665820) == "665,820");
  CHECK(format_count(1234567890) == "1,234,567,890");
  CHECK(format_count(-999) == "-999");
  CHECK(format_count(-1000) == "-1,000");
}

TEST_CASE("short numbers carry three digits and a decimal prefix", "[console]") {
  CHECK(format_short(0) == "0");
  CHECK(format_short(65) == "65");
  CHECK(format_short(0.5) == "0.50");
  CHECK(format_short(999.6) == "1.00 k");
  CHECK(format_short(10770816) == "10.8 M");
  CHECK(format_short(989e12) == "989 T");
  CHECK(format_short(-2500) == "-2.50 k");
  CHECK(format_short(std::numeric_limits<double>::quiet_NaN()) == "?");
}

TEST_CASE("bytes are printed in binary units and never as 1024.0", "[console]") {
  CHECK(format_bytes(0) == "0 B");
  CHECK(format_bytes(1023) == "1023 B");
  CHECK(format_bytes(1024) == "1.0 KiB");
  CHECK(format_bytes(43201331) == "41.2 MiB");
  CHECK(format_bytes((std::int64_t{1} << 20) - 1) == "1.0 MiB");
  CHECK(format_bytes(std::int64_t{3} << 30) == "3.0 GiB");
}

TEST_CASE("durations show their two largest units", "[console]") {
  CHECK(format_duration(0.2) == "0s");
  CHECK(format_duration(59.4) == "59s");
  CHECK(format_duration(59.6) == "1m00s");
  CHECK(format_duration(481) == "8m01s");
  CHECK(format_duration(7500) == "2h05m");
  CHECK(format_duration(273600) == "3d04h");
  CHECK(format_duration(-1) == "?");
  CHECK(format_duration(std::numeric_limits<double>::infinity()) == "?");
}

TEST_CASE("milliseconds keep about three digits", "[console]") {
  CHECK(format_ms(1.234) == "1.23 ms");
  CHECK(format_ms(98.42) == "98.4 ms");
  CHECK(format_ms(2345.6) == "2346 ms");
  CHECK(format_ms(std::nan("")) == "? ms");
}

}  // namespace
}  // namespace ghost
