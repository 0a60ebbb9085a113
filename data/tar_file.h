#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ghost {

/// Writes the members of a tar archive (also .tar.gz) whose file names, without their folders, are
/// in `names` into `directory`. Throws ghost::Error when the archive is damaged or lacks one.
void extract_from_tar(const std::filesystem::path& archive, const std::vector<std::string>& names,
                      const std::filesystem::path& directory);

}  // namespace ghost
