#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace ghost {

enum class TokenizerKind { kByte, kChar, kGpt2 };

/// `byte`, `char`, `gpt2`.
std::string_view tokenizer_kind_name(TokenizerKind kind);

/// The kind of that name; throws ghost::ConfigError for any other text.
TokenizerKind parse_tokenizer_kind(std::string_view name);

/// Text to token ids and back. One object serves one thread at a time (GPT-2 keeps a word cache).
class Tokenizer {
 public:
  Tokenizer() = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;
  virtual ~Tokenizer() = default;

  virtual TokenizerKind kind() const = 0;

  /// Ids are 0 .. vocab_size() - 1.
  virtual std::int32_t vocab_size() const = 0;

  /// The token that begins each document, where the vocabulary has one.
  virtual std::optional<std::int32_t> end_of_text() const { return std::nullopt; }

  /// Appends the ids of `text`.
  virtual void encode(std::string_view text, std::vector<std::int32_t>& tokens) const = 0;
  std::vector<std::int32_t> encode(std::string_view text) const;

  /// Throws ghost::Error when a token is outside of the vocabulary.
  virtual std::string decode(std::span<const std::int32_t> tokens) const = 0;

 protected:
  void check_token(std::int32_t token) const;
};

/// Token = byte. No end-of-text token.
class ByteTokenizer final : public Tokenizer {
 public:
  using Tokenizer::encode;
  TokenizerKind kind() const override { return TokenizerKind::kByte; }
  std::int32_t vocab_size() const override { return 256; }
  void encode(std::string_view text, std::vector<std::int32_t>& tokens) const override;
  std::string decode(std::span<const std::int32_t> tokens) const override;
};

/// Token = place of a Unicode code point in a sorted vocabulary, as nanoGPT's shakespeare_char.
class CharTokenizer final : public Tokenizer {
 public:
  /// `characters` in the order of their ids; throws ghost::Error on none or on a duplicate.
  explicit CharTokenizer(std::vector<char32_t> characters);

  /// The vocabulary of `text`, sorted by code point. Throws ghost::Error on empty text and on
  /// invalid UTF-8 (with its byte offset); `source` names the text in the message.
  static CharTokenizer from_text(std::string_view text, std::string_view source);

  using Tokenizer::encode;
  TokenizerKind kind() const override { return TokenizerKind::kChar; }
  std::int32_t vocab_size() const override { return static_cast<std::int32_t>(characters_.size()); }

  /// Throws ghost::Error with the byte offset of an unknown character or of invalid UTF-8.
  void encode(std::string_view text, std::vector<std::int32_t>& tokens) const override;
  std::string decode(std::span<const std::int32_t> tokens) const override;

  const std::vector<char32_t>& characters() const { return characters_; }

 private:
  std::vector<char32_t> characters_;                // id -> character
  std::unordered_map<char32_t, std::int32_t> ids_;  // character -> id
};

}  // namespace ghost
