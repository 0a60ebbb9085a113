#include "tests/support/temporary_directory.h"

#include <fstream>
#include <stdlib.h>
#include <string>
#include <system_error>

#include "engine/core/error.h"

namespace ghost::test {

TemporaryDirectory::TemporaryDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "ghost-test-XXXXXX").string();
  GHOST_CHECK(::mkdtemp(name.data()) != nullptr, "cannot make a directory from {}", name);
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path TemporaryDirectory::write(std::string_view name,
                                                std::string_view text) const {
  const std::filesystem::path path = path_ / name;
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

}  // namespace ghost::test
