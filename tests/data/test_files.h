#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include "tests/support/catch.h"
#include "tests/support/temporary_directory.h"

namespace ghost {

using TestDir = test::TemporaryDirectory;

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  REQUIRE(in.good());
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// A file or directory of the real data that lies beside some checkouts. Where it is not, the test
/// says so and ends: `if (!path) return;`.
inline std::optional<std::filesystem::path> shared_data(std::string_view name) {
  const auto path = std::filesystem::path(GHOST_SOURCE_DIR) / "../shared/data" / name;
  if (!std::filesystem::exists(path)) {
    WARN("skipped: " << name << " is not beside this checkout");
    return std::nullopt;
  }
  return path;
}

}  // namespace ghost
