#pragma once

#include <string>

// Catch2 2.13 (Debian 12) and 3 differ in where the header lies and in a few names.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
namespace ghost::test {
inline auto contains_text(const std::string& part) {
  return Catch::Matchers::ContainsSubstring(part);
}
}  // namespace ghost::test
#else
#include <catch2/catch.hpp>
namespace ghost::test {
inline auto contains_text(const std::string& part) { return Catch::Matchers::Contains(part); }
}  // namespace ghost::test
#endif
