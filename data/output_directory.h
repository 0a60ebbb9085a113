#pragma once

#include <filesystem>

namespace ghost {

/// A directory that appears under its name complete, or not at all: files go to a temporary one
/// beside it, and `commit` renames that. Without `commit` the destructor removes it.
class OutputDirectory {
 public:
  /// Throws ghost::Error when `path` is there already, unless it is an empty directory, or
  /// `replace` is set and it holds `marker`, the file that tells a directory of ours.
  OutputDirectory(std::filesystem::path path, std::filesystem::path marker, bool replace);
  OutputDirectory(const OutputDirectory&) = delete;
  OutputDirectory& operator=(const OutputDirectory&) = delete;
  ~OutputDirectory();

  /// Where to write until `commit`.
  const std::filesystem::path& temporary() const { return temporary_; }

  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty once renamed
};

}  // namespace ghost
