#include "data/tar_file.h"

#include <algorithm>
#include <charconv>

#include "data/text_reader.h"
#include "engine/core/error.h"
#include "engine/io/file.h"

namespace ghost {
namespace {

// POSIX ustar: a header of one block before each member, which fills whole blocks.
constexpr std::size_t kBlock = 512;
constexpr std::size_t kNameSize = 100;
constexpr std::size_t kSizeAt = 124;
constexpr std::size_t kSizeSize = 12;

/// Takes bytes off the front of a stream.
class TarStream {
 public:
  explicit TarStream(const std::filesystem::path& path) : path_(path), reader_(path) {}

  /// False at the end of the stream.
  bool take(std::size_t size, std::string& out) {
    while (buffer_.size() - begin_ < size) {
      buffer_.erase(0, begin_);
      begin_ = 0;
      if (!reader_.read(buffer_)) {
        GHOST_CHECK(buffer_.empty(), "{}: the archive ends inside of a member", path_.string());
        return false;
      }
    }
    out.assign(buffer_, begin_, size);
    begin_ += size;
    return true;
  }

 private:
  std::filesystem::path path_;
  ByteReader reader_;
  std::string buffer_;
  std::size_t begin_ = 0;
};

std::string text_field(const std::string& header, std::size_t at, std::size_t size) {
  const std::string field = header.substr(at, size);
  return field.substr(0, field.find('\0'));
}

std::size_t member_size(const std::filesystem::path& archive, const std::string& header) {
  const std::string text = text_field(header, kSizeAt, kSizeSize);
  std::size_t size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size, 8);
  GHOST_CHECK(error == std::errc{} && end != text.data(), "{}: not a tar archive",
              archive.string());
  return size;
}

}  // namespace

void extract_from_tar(const std::filesystem::path& archive, const std::vector<std::string>& names,
                      const std::filesystem::path& directory) {
  TarStream stream(archive);
  std::vector<std::string> missing = names;
  std::string header;
  std::string content;
  while (!missing.empty() && stream.take(kBlock, header) && header[0] != '\0') {
    const std::filesystem::path member = text_field(header, 0, kNameSize);
    const std::size_t size = member_size(archive, header);
    if (size == 0) {
      continue;
    }
    const bool is_whole = stream.take((size + kBlock - 1) / kBlock * kBlock, content);
    GHOST_CHECK(is_whole, "{}: the archive ends inside of a member", archive.string());
    const std::string name = member.filename().string();
    if (std::erase(missing, name) > 0) {
      write_file_atomically(directory / name, std::string_view(content).substr(0, size));
    }
  }
  GHOST_CHECK(missing.empty(), "{}: no member {}", archive.string(), missing.front());
}

}  // namespace ghost
