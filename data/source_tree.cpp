#include "data/source_tree.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "data/utf8.h"
#include "engine/core/error.h"
#include "engine/io/file.h"

namespace ghost {
namespace {

constexpr std::array<std::string_view, 16> kExtensions = {
    ".h",  ".hpp", ".c",    ".cc",  ".cpp",   ".cu",  ".cuh", ".py",
    ".sh", ".md",  ".yaml", ".yml", ".cmake", ".txt", ".rst", ".toml"};
constexpr std::array<std::string_view, 5> kSkippedDirectories = {"build", "runs", "datasets",
                                                                 "node_modules", "__pycache__"};

bool is_skipped(const std::filesystem::path& directory) {
  const std::string name = directory.filename().string();
  return name.starts_with('.') ||
         std::find(kSkippedDirectories.begin(), kSkippedDirectories.end(), name) !=
             kSkippedDirectories.end() ||
         std::filesystem::exists(directory / "CMakeCache.txt");
}

bool is_source(const std::filesystem::path& file) {
  const std::string extension = file.extension().string();
  if (file.filename().string().starts_with('.') ||
      std::find(kExtensions.begin(), kExtensions.end(), extension) == kExtensions.end()) {
    return false;
  }
  const std::string text = read_file(file);
  return !text.empty() && text.find('\0') == std::string::npos &&
         valid_utf8_prefix(text) == text.size();
}

}  // namespace

std::vector<std::filesystem::path> list_source_files(const std::filesystem::path& root) {
  std::vector<std::filesystem::path> files;
  using Walk = std::filesystem::recursive_directory_iterator;
  for (Walk entry(root), end; entry != end; ++entry) {
    if (entry->is_symlink()) {
      continue;
    }
    if (entry->is_directory()) {
      if (is_skipped(entry->path())) {
        entry.disable_recursion_pending();
      }
    } else if (entry->is_regular_file() && is_source(entry->path())) {
      files.push_back(entry->path());
    }
  }
  GHOST_CHECK(!files.empty(), "{}: no source or text files in the tree", root.string());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace ghost
