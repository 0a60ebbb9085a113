#pragma once

#include <filesystem>
#include <vector>

namespace ghost {

/// The text files of a source tree, sorted by path: C++, CUDA, Python, shell, CMake, YAML, Markdown
/// and plain text. Hidden files and directories, build trees (a CMakeCache.txt inside), run and
/// data directories, empty and binary files (with a zero byte or invalid UTF-8) are left out.
/// Throws ghost::Error when none is found.
std::vector<std::filesystem::path> list_source_files(const std::filesystem::path& root);

}  // namespace ghost
