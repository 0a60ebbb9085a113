#include "data/output_directory.h"

#include <system_error>
#include <unistd.h>

#include "engine/core/error.h"

namespace ghost {
namespace {

std::filesystem::path beside(const std::filesystem::path& path, std::string_view mark) {
  return path.parent_path() / fmt::format("{}.{}-{}", path.filename().string(), mark, ::getpid());
}

}  // namespace

OutputDirectory::OutputDirectory(std::filesystem::path path, std::filesystem::path marker,
                                 bool replace)
    : path_(std::filesystem::absolute(path.has_filename() ? path : path.parent_path())) {
  if (std::filesystem::exists(path_)) {
    const bool is_ours = std::filesystem::exists(path_ / marker);
    const bool is_free = std::filesystem::is_directory(path_) && std::filesystem::is_empty(path_);
    GHOST_CHECK(is_free || !is_ours || replace, "{} is there already; pass --force to replace it",
                path.string());
    GHOST_CHECK(is_free || is_ours, "{} is there and holds no {}; expected a new directory",
                path.string(), marker.string());
  }
  temporary_ = beside(path_, "tmp");
  std::error_code error;
  std::filesystem::remove_all(temporary_, error);
  std::filesystem::create_directories(temporary_, error);
  GHOST_CHECK(!error, "cannot create {}: {}", temporary_.string(), error.message());
}

OutputDirectory::~OutputDirectory() {
  if (!temporary_.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(temporary_, ignored);
  }
}

void OutputDirectory::commit() {
  std::error_code error;
  const auto old = beside(path_, "old");
  const bool replaces = std::filesystem::exists(path_);
  if (replaces) {
    std::filesystem::rename(path_, old, error);
    GHOST_CHECK(!error, "cannot replace {}: {}", path_.string(), error.message());
  }
  std::filesystem::rename(temporary_, path_, error);
  GHOST_CHECK(!error, "cannot rename {} to {}: {}", temporary_.string(), path_.string(),
              error.message());
  temporary_.clear();
  if (replaces) {
    std::filesystem::remove_all(old, error);
  }
}

}  // namespace ghost
