#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <unistd.h>

#include <fmt/format.h>

#include "tests/support/catch.h"

namespace ghost {

/// A directory of its own under the system's temporary one, removed at the end of the test.
class TestDir {
 public:
  TestDir() {
    static int counter = 0;
    path_ = std::filesystem::temp_directory_path() /
            fmt::format("ghostgrad_data_{}_{}", ::getpid(), counter++);
    std::filesystem::create_directories(path_);
  }
  TestDir(const TestDir&) = delete;
  TestDir& operator=(const TestDir&) = delete;
  ~TestDir() { std::filesystem::remove_all(path_); }

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

  /// Writes `content` to `name`, whose directories are made, and returns the path.
  std::filesystem::path write(std::string_view name, std::string_view content) const {
    const std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
    return file;
  }

 private:
  std::filesystem::path path_;
};

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
