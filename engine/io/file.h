#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "engine/io/file_descriptor.h"

namespace ghost {

/// The bytes of a text, without a copy.
inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// The whole file. Throws ghost::Error naming the path and the reason.
std::string read_file(const std::filesystem::path& path);

/// Puts a directory's entries on disk: a rename survives a power cut only after that. Throws
/// ghost::Error naming the path and the reason.
void sync_directory(const std::filesystem::path& path);

/// A file that appears under its name complete and on disk, or not at all.
///
/// Bytes go to `NAME.tmp-PID-N` in the same directory. `commit` syncs the file, renames it and
/// syncs the directory. Without `commit` the destructor removes the temporary file, so what stood
/// under the name before stays valid. Every error is a ghost::Error naming the path and the reason.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  void write(std::span<const std::byte> bytes);
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty once renamed
  FileDescriptor fd_;
};

/// An AtomicFile with one write.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// A whole file mapped for reading. The pages are the system's: a large file costs no memory until
/// read. The file must not be truncated while mapped.
class MappedFile {
 public:
  /// Throws ghost::Error when the file cannot be read or is not a regular file.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  std::int64_t size() const { return static_cast<std::int64_t>(bytes_.size()); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;  // empty for an empty file, which cannot be mapped
};

/// A log of lines, such as metrics.jsonl. Each line reaches the system in one write, without a
/// buffer in between: a killed process loses no finished line.
class AppendFile {
 public:
  /// Opens the file for appending; creates it when it is not there.
  explicit AppendFile(std::filesystem::path path);

  /// Appends `line` and a newline. `line` contains none itself. When the write fails, the part that
  /// was written is taken back, so the file holds whole lines only.
  void append_line(std::string_view line);

  /// Bytes in the file, which is what a checkpoint stores for `truncate`.
  std::int64_t size() const;

  /// Cuts the file to its first `bytes` bytes, where a resumed run goes on.
  /// Throws when the file is shorter.
  void truncate(std::int64_t bytes);

 private:
  std::filesystem::path path_;
  FileDescriptor fd_;
};

}  // namespace ghost
