#include "data/tokenizer.h"

#include <algorithm>
#include <set>

#include "data/utf8.h"
#include "engine/core/error.h"

namespace ghost {

std::string_view tokenizer_kind_name(TokenizerKind kind) {
  switch (kind) {
    case TokenizerKind::kByte:
      return "byte";
    case TokenizerKind::kChar:
      return "char";
    case TokenizerKind::kGpt2:
      return "gpt2";
  }
  return "unknown";
}

TokenizerKind parse_tokenizer_kind(std::string_view name) {
  for (const auto kind : {TokenizerKind::kByte, TokenizerKind::kChar, TokenizerKind::kGpt2}) {
    if (tokenizer_kind_name(kind) == name) {
      return kind;
    }
  }
  fail<ConfigError>("unknown tokenizer {}; expected byte, char or gpt2", name);
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<std::int32_t> tokens;
  encode(text, tokens);
  return tokens;
}

void Tokenizer::check_token(std::int32_t token) const {
  GHOST_CHECK(token >= 0 && token < vocab_size(), "token {} is outside of the {} vocabulary of {}",
              token, tokenizer_kind_name(kind()), vocab_size());
}

void ByteTokenizer::encode(std::string_view text, std::vector<std::int32_t>& tokens) const {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  tokens.insert(tokens.end(), bytes, bytes + text.size());
}

std::string ByteTokenizer::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  text.reserve(tokens.size());
  for (const std::int32_t token : tokens) {
    check_token(token);
    text.push_back(static_cast<char>(token));
  }
  return text;
}

CharTokenizer::CharTokenizer(std::vector<char32_t> characters)
    : characters_(std::move(characters)) {
  GHOST_CHECK(!characters_.empty(), "char tokenizer: the vocabulary is empty");
  for (const char32_t character : characters_) {
    const auto id = static_cast<std::int32_t>(ids_.size());
    GHOST_CHECK(ids_.emplace(character, id).second,
                "char tokenizer: {} appears twice in the vocabulary", code_point_name(character));
  }
}

CharTokenizer CharTokenizer::from_text(std::string_view text, std::string_view source) {
  GHOST_CHECK(!text.empty(), "{}: no text; a char vocabulary needs at least one character", source);
  std::set<char32_t> characters;
  for (std::size_t offset = 0; offset < text.size();) {
    const CodePoint point = read_code_point(text, offset);
    GHOST_CHECK(point.is_valid, "{}: invalid UTF-8 (byte 0x{:02X}) at byte {}", source,
                static_cast<std::uint32_t>(point.value), offset);
    characters.insert(point.value);
    offset += static_cast<std::size_t>(point.num_bytes);
  }
  return CharTokenizer({characters.begin(), characters.end()});
}

void CharTokenizer::encode(std::string_view text, std::vector<std::int32_t>& tokens) const {
  for (std::size_t offset = 0; offset < text.size();) {
    const CodePoint point = read_code_point(text, offset);
    GHOST_CHECK(point.is_valid, "char tokenizer: invalid UTF-8 (byte 0x{:02X}) at byte {}",
                static_cast<std::uint32_t>(point.value), offset);
    const auto found = ids_.find(point.value);
    if (found == ids_.end()) {
      const auto bytes = text.substr(offset, static_cast<std::size_t>(point.num_bytes));
      fail("char tokenizer: character {}{} at byte {} is not in the vocabulary of {}",
           code_point_name(point.value), point.value < ' ' ? "" : fmt::format(" '{}'", bytes),
           offset, vocab_size());
    }
    tokens.push_back(found->second);
    offset += static_cast<std::size_t>(point.num_bytes);
  }
}

std::string CharTokenizer::decode(std::span<const std::int32_t> tokens) const {
  std::string text;
  for (const std::int32_t token : tokens) {
    check_token(token);
    append_code_point(text, characters_[static_cast<std::size_t>(token)]);
  }
  return text;
}

}  // namespace ghost
