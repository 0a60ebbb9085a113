#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

namespace ghost {

/// Cuts text into the words that GPT-2's byte-pair encoding works on:
///
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
///
/// with \s the Unicode White_Space property, as in tiktoken: U+0085 is white space; U+FEFF, U+200B,
/// U+180E and U+001C to U+001F are not. (PCRE2's own \s holds U+180E, so the set is written out.)
/// source  openai/gpt-2 src/encoder.py, openai/tiktoken tiktoken_ext/openai_public.py
class Gpt2Splitter {
 public:
  Gpt2Splitter();
  Gpt2Splitter(Gpt2Splitter&&) noexcept;
  Gpt2Splitter& operator=(Gpt2Splitter&&) noexcept;
  ~Gpt2Splitter();

  /// End of the word that begins at `begin` (< text.size()). `text` must be valid UTF-8.
  std::size_t word_end(std::string_view text, std::size_t begin) const;

 private:
  struct Regex;
  std::unique_ptr<Regex> regex_;
};

}  // namespace ghost
