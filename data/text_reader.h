#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace ghost {

enum class TextFormat {
  kPlain,      // the whole file is one document
  kJsonLines,  // one JSON object a line, the text in one of its fields
};

/// By the file's name: .txt is plain, .jsonl and .ndjson are JSON lines, each also with .gz behind.
/// Throws ghost::Error for any other name.
TextFormat text_format_of(const std::filesystem::path& path);

/// Bytes of a file, unpacked where it is gzip (also of several members), as a stream.
class ByteReader {
 public:
  /// Throws ghost::Error when the file cannot be opened.
  explicit ByteReader(const std::filesystem::path& path);
  ByteReader(ByteReader&&) noexcept;
  ByteReader& operator=(ByteReader&&) noexcept;
  ~ByteReader();

  /// Appends the next bytes to `out`; false at the end. Throws ghost::Error on a read error and on
  /// a truncated or damaged gzip file.
  bool read(std::string& out);

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
};

/// The documents of one file, one after another; a line is held in memory, a file is not (except a
/// plain one, which is one document).
class TextReader {
 public:
  TextReader(const std::filesystem::path& path, TextFormat format, std::string field = "text");

  /// The next document, or false at the end. Throws ghost::Error with file and line on bad JSON, a
  /// missing field, a field that is no string or an empty text; and when the file holds no text.
  bool next(std::string& document);

 private:
  bool next_line();
  bool next_record(std::string& document);

  std::filesystem::path path_;
  TextFormat format_;
  std::string field_;
  ByteReader bytes_;
  std::string buffer_;  // read and not yet handed out, from begin_ on
  std::size_t begin_ = 0;
  std::string line_;
  std::int64_t line_number_ = 0;
  std::int64_t num_documents_ = 0;
};

}  // namespace ghost
