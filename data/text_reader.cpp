#include "data/text_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <nlohmann/json.hpp>
#include <zlib.h>

#include "engine/core/error.h"

namespace ghost {
namespace {

constexpr std::size_t kReadBytes = std::size_t{1} << 20;

}  // namespace

TextFormat text_format_of(const std::filesystem::path& path) {
  const auto name = path.extension() == ".gz" ? path.stem() : path.filename();
  const auto extension = name.extension();
  if (extension == ".txt") {
    return TextFormat::kPlain;
  }
  if (extension == ".jsonl" || extension == ".ndjson") {
    return TextFormat::kJsonLines;
  }
  fail("{}: unknown kind of text; expected .txt, .jsonl or .ndjson, or one of them with .gz",
       path.string());
}

struct ByteReader::Stream {
  struct Close {
    void operator()(gzFile_s* file) const { gzclose(file); }
  };
  std::string path;
  std::unique_ptr<gzFile_s, Close> file;
};

ByteReader::ByteReader(const std::filesystem::path& path) : stream_(std::make_unique<Stream>()) {
  stream_->path = path.string();
  GHOST_CHECK(!std::filesystem::is_directory(path), "cannot read {}: it is a directory",
              stream_->path);
  errno = 0;
  stream_->file.reset(gzopen(path.c_str(), "rb"));  // reads files that are not gzip as they are
  GHOST_CHECK(stream_->file != nullptr, "cannot read {}: {}", stream_->path, std::strerror(errno));
  gzbuffer(stream_->file.get(), 1U << 17);
}

ByteReader::ByteReader(ByteReader&&) noexcept = default;
ByteReader& ByteReader::operator=(ByteReader&&) noexcept = default;
ByteReader::~ByteReader() = default;

bool ByteReader::read(std::string& out) {
  const std::size_t size = out.size();
  out.resize(size + kReadBytes);
  const int count = gzread(stream_->file.get(), out.data() + size, kReadBytes);
  out.resize(size + static_cast<std::size_t>(std::max(count, 0)));
  int code = Z_OK;
  const char* text = gzerror(stream_->file.get(), &code);
  // zlib's text begins with the path.
  GHOST_CHECK(count >= 0 && (code == Z_OK || code == Z_STREAM_END),
              "cannot unpack {}; the file is truncated or damaged",
              code == Z_ERRNO ? stream_->path + ": " + std::strerror(errno) : text);
  return count > 0;
}

TextReader::TextReader(const std::filesystem::path& path, TextFormat format, std::string field)
    : path_(path), format_(format), field_(std::move(field)), bytes_(path) {}

bool TextReader::next(std::string& document) {
  bool found = false;
  if (format_ == TextFormat::kJsonLines) {
    found = next_record(document);
  } else if (num_documents_ == 0) {
    document.clear();
    while (bytes_.read(document)) {
    }
    found = !document.empty();
  }
  if (!found) {
    GHOST_CHECK(num_documents_ > 0, "{}: no text in the file", path_.string());
    return false;
  }
  ++num_documents_;
  return true;
}

bool TextReader::next_line() {
  std::size_t searched = begin_;
  while (true) {
    const std::size_t end = buffer_.find('\n', searched);
    if (end != std::string::npos) {
      line_.assign(buffer_, begin_, end - begin_);
      begin_ = end + 1;
      ++line_number_;
      return true;
    }
    buffer_.erase(0, begin_);
    begin_ = 0;
    searched = buffer_.size();
    if (!bytes_.read(buffer_)) {
      break;
    }
  }
  line_.swap(buffer_);
  buffer_.clear();
  ++line_number_;
  return !line_.empty();
}

bool TextReader::next_record(std::string& document) {
  do {
    if (!next_line()) {
      return false;
    }
  } while (line_.find_first_not_of(" \t\r") == std::string::npos);
  const auto json = nlohmann::json::parse(line_, nullptr, /*allow_exceptions=*/false);
  const std::string place = fmt::format("{}:{}", path_.string(), line_number_);
  GHOST_CHECK(!json.is_discarded(), "{}: not valid JSON", place);
  GHOST_CHECK(json.is_object(), "{}: expected a JSON object, found {}", place, json.type_name());
  const auto found = json.find(field_);
  GHOST_CHECK(found != json.end(), "{}: no field \"{}\" in the record", place, field_);
  GHOST_CHECK(found->is_string(), "{}: field \"{}\" is {}; expected a string", place, field_,
              found->type_name());
  document = found->get_ref<const std::string&>();
  GHOST_CHECK(!document.empty(), "{}: field \"{}\" is empty; expected some text", place, field_);
  return true;
}

}  // namespace ghost
