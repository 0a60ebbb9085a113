#include "data/gpt2_splitter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "engine/core/error.h"

namespace ghost {
namespace {

// The code points of White_Space in Unicode's PropList.txt.
#define GHOST_WHITE_SPACE \
  R"(\x09-\x0d\x20\x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})"

// Possessive quantifiers change no match here: no alternative has anything after its repeat, except
// the one of white space before a word, which must give one character back.
constexpr std::string_view kPattern =
    R"('(?:[stmd]|re|ve|ll)| ?\p{L}++| ?\p{N}++| ?[^\p{L}\p{N})" GHOST_WHITE_SPACE
    R"(]++|[)" GHOST_WHITE_SPACE R"(]+(?![^)" GHOST_WHITE_SPACE R"(])|[)" GHOST_WHITE_SPACE
    R"(]++)";

#undef GHOST_WHITE_SPACE

std::string error_text(int code) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

}  // namespace

struct Gpt2Splitter::Regex {
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  };
  std::unique_ptr<pcre2_code, Free> code;
  std::unique_ptr<pcre2_match_data, Free> match;
};

Gpt2Splitter::Gpt2Splitter() : regex_(std::make_unique<Regex>()) {
  int code = 0;
  PCRE2_SIZE offset = 0;
  regex_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(kPattern.data()), kPattern.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &code, &offset,
                                   nullptr));
  GHOST_CHECK(regex_->code != nullptr, "gpt2 tokenizer: PCRE2 refused the pattern at {}: {}",
              offset, error_text(code));
  // A machine without executable memory runs the interpreter: the same matches, more slowly.
  pcre2_jit_compile(regex_->code.get(), PCRE2_JIT_COMPLETE);
  regex_->match.reset(pcre2_match_data_create_from_pattern(regex_->code.get(), nullptr));
}

Gpt2Splitter::Gpt2Splitter(Gpt2Splitter&&) noexcept = default;
Gpt2Splitter& Gpt2Splitter::operator=(Gpt2Splitter&&) noexcept = default;
Gpt2Splitter::~Gpt2Splitter() = default;

std::size_t Gpt2Splitter::word_end(std::string_view text, std::size_t begin) const {
  const int found =
      pcre2_match(regex_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), begin,
                  PCRE2_NO_UTF_CHECK, regex_->match.get(), nullptr);
  GHOST_CHECK(found > 0, "gpt2 tokenizer: no word at byte {}: {}", begin, error_text(found));
  return pcre2_get_ovector_pointer(regex_->match.get())[1];
}

}  // namespace ghost
