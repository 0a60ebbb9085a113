#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/bpe_merges.h"
#include "data/gpt2_splitter.h"
#include "data/tokenizer.h"

namespace ghost {

/// What `<|endoftext|>` in a text means.
enum class SpecialTokens {
  kAsText,     // ordinary characters, as in documents one does not trust
  kRecognize,  // the end-of-text token
};

/// GPT-2's byte-level byte-pair encoding; ids equal tiktoken's `gpt2` on all valid UTF-8.
/// Bytes that are not valid UTF-8 are encoded as they stand (each run of them as one word), so that
/// decode(encode(text)) == text for every text.
class Gpt2Tokenizer final : public Tokenizer {
 public:
  /// Reads `vocab.bpe` (or `merges.txt`) and `encoder.json` (or `vocab.json`) in `directory`.
  /// Throws ghost::Error naming the file, and the line of a bad merge.
  explicit Gpt2Tokenizer(const std::filesystem::path& directory);

  TokenizerKind kind() const override { return TokenizerKind::kGpt2; }
  std::int32_t vocab_size() const override { return static_cast<std::int32_t>(bytes_.size()); }
  std::optional<std::int32_t> end_of_text() const override { return end_of_text_; }

  using Tokenizer::encode;
  void encode(std::string_view text, std::vector<std::int32_t>& tokens) const override {
    encode(text, tokens, SpecialTokens::kAsText);
  }
  void encode(std::string_view text, std::vector<std::int32_t>& tokens,
              SpecialTokens special) const;
  std::vector<std::int32_t> encode(std::string_view text, SpecialTokens special) const;
  std::string decode(std::span<const std::int32_t> tokens) const override;

  const std::filesystem::path& merges_file() const { return merges_file_; }
  const std::filesystem::path& vocab_file() const { return vocab_file_; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view word) const {
      return std::hash<std::string_view>{}(word);
    }
  };
  struct TokenRange {
    std::uint32_t begin = 0;
    std::uint32_t count = 0;
  };

  void read_vocab();
  void read_merges();
  void encode_text(std::string_view text, std::vector<std::int32_t>& tokens) const;
  void encode_word(std::string_view word, std::vector<std::int32_t>& tokens) const;
  void merge_word(std::string_view word, std::vector<std::int32_t>& tokens) const;

  std::filesystem::path merges_file_;
  std::filesystem::path vocab_file_;
  std::vector<std::string> bytes_;                                            // id -> bytes
  std::unordered_map<std::string, std::int32_t, Hash, std::equal_to<>> ids_;  // bytes -> id
  std::array<std::int32_t, 256> byte_ids_{};
  std::optional<std::int32_t> end_of_text_;
  BpeMerges merges_;
  Gpt2Splitter splitter_;

  // Words seen before and their tokens in cached_tokens_; natural text repeats most of its words.
  mutable std::unordered_map<std::string, TokenRange, Hash, std::equal_to<>> cache_;
  mutable std::vector<std::int32_t> cached_tokens_;
};

}  // namespace ghost
