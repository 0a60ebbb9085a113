#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace ghost {

/// Bytes of a file received so far (those of earlier attempts included) and in all; 0 while
/// unknown.
using DownloadProgress = std::function<void(std::int64_t received, std::int64_t total)>;

/// Downloads `url` (http, https, file) into `part`. When `part` is there, only what is missing is
/// asked for; a server that cannot do that sends the whole file again. What arrived before an error
/// stays in `part` for the next attempt.
/// Throws ghost::Error in one line: host not reached, HTTP status, broken transfer, disk.
void download(const std::string& url, const std::filesystem::path& part,
              const DownloadProgress& progress = {});

}  // namespace ghost
