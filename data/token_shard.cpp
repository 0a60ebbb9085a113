#include "data/token_shard.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "engine/core/error.h"

namespace ghost {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are little-endian");

constexpr std::int64_t kHeaderBytes = 1024;
constexpr std::int32_t kMagic16 = 20240520;
constexpr std::int32_t kVersion16 = 1;
constexpr std::int32_t kMagic32 = 20240801;
constexpr std::int32_t kVersion32 = 7;
constexpr std::int32_t kLargestVocab16 = 65536;

int token_bytes(std::int32_t vocab_size) { return vocab_size <= kLargestVocab16 ? 2 : 4; }

std::array<std::int32_t, 256> make_header(int bytes_per_token, std::int64_t num_tokens) {
  std::array<std::int32_t, 256> header{};
  header[0] = bytes_per_token == 2 ? kMagic16 : kMagic32;
  header[1] = bytes_per_token == 2 ? kVersion16 : kVersion32;
  header[2] = static_cast<std::int32_t>(num_tokens);
  return header;
}

void append_token_bytes(std::vector<std::byte>& out, std::span<const std::int32_t> tokens,
                        std::int32_t vocab_size, const std::filesystem::path& path) {
  const auto width = static_cast<std::size_t>(token_bytes(vocab_size));
  const std::size_t begin = out.size();
  out.resize(begin + tokens.size() * width);
  std::byte* to = out.data() + begin;
  for (const std::int32_t token : tokens) {
    GHOST_CHECK(token >= 0 && token < vocab_size,
                "{}: token {} to be written; tokens >= vocab_size {}", path.string(), token,
                vocab_size);
    std::memcpy(to, &token, width);  // little-endian: the low bytes come first
    to += width;
  }
}

void write_shard_file(const std::filesystem::path& path, std::span<const std::byte> bytes,
                      int bytes_per_token) {
  const auto num_tokens = static_cast<std::int64_t>(bytes.size()) / bytes_per_token;
  GHOST_CHECK(num_tokens <= std::numeric_limits<std::int32_t>::max(),
              "{}: {} tokens do not fit one shard; its header counts in 31 bits", path.string(),
              num_tokens);
  const auto header = make_header(bytes_per_token, num_tokens);
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(header)));
  file.write(bytes);
  file.commit();
}

template <typename T>
T load_token(const std::byte* bytes, std::int64_t index) {
  T token = 0;
  std::memcpy(&token, bytes + index * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
  return token;
}

/// Copies tokens and returns the largest one.
template <typename T>
std::int64_t widen(const std::byte* bytes, std::span<std::int32_t> tokens) {
  T largest = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const T token = load_token<T>(bytes, static_cast<std::int64_t>(i));
    largest = std::max(largest, token);
    tokens[i] = static_cast<std::int32_t>(token);
  }
  return largest;
}

template <typename T>
std::int64_t largest_token(const std::byte* bytes, std::int64_t count) {
  T largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, load_token<T>(bytes, i));
  }
  return largest;
}

}  // namespace

bool has_shard_magic(const std::filesystem::path& path) {
  const MappedFile file(path);
  std::int32_t magic = 0;
  if (file.bytes().size() < sizeof magic) {
    return false;
  }
  std::memcpy(&magic, file.bytes().data(), sizeof magic);
  return magic == kMagic16 || magic == kMagic32;
}

TokenShard::TokenShard(const std::filesystem::path& path, ShardFormat format)
    : file_(path), format_(format) {
  if (format != ShardFormat::kNanogpt) {
    read_header();
    format_ = ShardFormat::kLlmc;
    return;
  }
  GHOST_CHECK(file_.size() > 0, "{}: token shard holds no tokens", path.string());
  GHOST_CHECK(file_.size() % 2 == 0,
              "{}: {} bytes; a nanoGPT file of uint16 tokens has an even number", path.string(),
              file_.size());
  num_tokens_ = file_.size() / 2;
}

void TokenShard::read_header() {
  const std::string path = file_.path().string();
  std::array<std::int32_t, 3> header{};
  GHOST_CHECK(file_.size() >= static_cast<std::int64_t>(sizeof header),
              "{}: truncated token shard: expected a header of {} bytes, found {}", path,
              kHeaderBytes, file_.size());
  std::memcpy(header.data(), file_.bytes().data(), sizeof header);
  const auto [magic, version, count] = header;
  const bool is_16 = magic == kMagic16;
  GHOST_CHECK(
      is_16 || magic == kMagic32,
      "{}: not an llm.c token shard: begins with {}, expected {} or {} (raw uint16 files of "
      "nanoGPT need format nanogpt)",
      path, magic, kMagic16, kMagic32);
  GHOST_CHECK(version == (is_16 ? kVersion16 : kVersion32),
              "{}: token shard of version {}; expected {} with magic {}", path, version,
              is_16 ? kVersion16 : kVersion32, magic);
  GHOST_CHECK(file_.size() >= kHeaderBytes,
              "{}: truncated token shard: expected a header of {} bytes, found {}", path,
              kHeaderBytes, file_.size());
  GHOST_CHECK(count >= 0, "{}: token shard with {} tokens in its header", path, count);
  bytes_per_token_ = is_16 ? 2 : 4;
  header_bytes_ = kHeaderBytes;
  num_tokens_ = count;
  const std::int64_t expected = kHeaderBytes + num_tokens_ * bytes_per_token_;
  GHOST_CHECK(file_.size() == expected,
              "{}: {} token shard: expected {} bytes for {} tokens, found {}", path,
              file_.size() < expected ? "truncated" : "oversized", expected, num_tokens_,
              file_.size());
  GHOST_CHECK(count > 0, "{}: token shard holds no tokens", path);
}

void TokenShard::read(std::int64_t begin, std::span<std::int32_t> tokens,
                      std::int64_t vocab_size) const {
  const auto count = static_cast<std::int64_t>(tokens.size());
  GHOST_CHECK(begin >= 0 && begin + count <= num_tokens_,
              "{}: tokens {} to {} asked for; the shard has {}", path().string(), begin,
              begin + count, num_tokens_);
  const std::byte* from = file_.bytes().data() + header_bytes_ + begin * bytes_per_token_;
  const std::int64_t largest = bytes_per_token_ == 2 ? widen<std::uint16_t>(from, tokens)
                                                     : widen<std::uint32_t>(from, tokens);
  const std::int64_t limit =
      vocab_size > 0 ? vocab_size : std::numeric_limits<std::int32_t>::max() + std::int64_t{1};
  if (largest >= limit) {
    std::int64_t at = 0;
    std::int64_t token = 0;
    do {
      token = bytes_per_token_ == 2 ? load_token<std::uint16_t>(from, at)
                                    : std::int64_t{load_token<std::uint32_t>(from, at)};
    } while (token < limit && ++at < count);
    fail("{}: token {} at position {}: tokens >= vocab_size {}", path().string(), token, begin + at,
         limit);
  }
}

std::int64_t TokenShard::max_token() const {
  const std::byte* from = file_.bytes().data() + header_bytes_;
  return bytes_per_token_ == 2 ? largest_token<std::uint16_t>(from, num_tokens_)
                               : largest_token<std::uint32_t>(from, num_tokens_);
}

TokenShardWriter::TokenShardWriter(Options options) : options_(std::move(options)) {
  GHOST_CHECK(options_.shard_tokens > 0, "shard_tokens is {}; expected a positive number",
              options_.shard_tokens);
}

void TokenShardWriter::append(std::span<const std::int32_t> tokens) {
  const auto width = token_bytes(options_.vocab_size);
  while (!tokens.empty()) {
    const std::int64_t held = static_cast<std::int64_t>(buffer_.size()) / width;
    const auto room = static_cast<std::size_t>(options_.shard_tokens - held);
    const auto now = tokens.first(std::min(room, tokens.size()));
    append_token_bytes(buffer_, now, options_.vocab_size, options_.directory / options_.name);
    num_tokens_ += static_cast<std::int64_t>(now.size());
    tokens = tokens.subspan(now.size());
    if (now.size() == room) {
      write_shard();
    }
  }
}

std::vector<std::filesystem::path> TokenShardWriter::finish() {
  if (!buffer_.empty()) {
    write_shard();
  }
  return files_;
}

void TokenShardWriter::write_shard() {
  const auto path = options_.directory / fmt::format("{}_{:06}.bin", options_.name, files_.size());
  write_shard_file(path, buffer_, token_bytes(options_.vocab_size));
  files_.push_back(path);
  buffer_.clear();
}

void write_token_shard(const std::filesystem::path& path, std::span<const std::int32_t> tokens,
                       std::int32_t vocab_size) {
  std::vector<std::byte> bytes;
  append_token_bytes(bytes, tokens, vocab_size, path);
  write_shard_file(path, bytes, token_bytes(vocab_size));
}

}  // namespace ghost
