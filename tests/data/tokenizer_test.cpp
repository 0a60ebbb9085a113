#include "data/tokenizer.h"

#include "data/utf8.h"
#include "engine/core/error.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

using Tokens = std::vector<std::int32_t>;

TEST_CASE("a byte tokenizer keeps every byte", "[data]") {
  std::string text;
  for (int byte = 0; byte < 256; ++byte) {
    text.push_back(static_cast<char>(byte));
  }
  const ByteTokenizer tokenizer;
  const Tokens tokens = tokenizer.encode(text);
  REQUIRE(tokens.size() == 256);
  CHECK(tokens[0] == 0);
  CHECK(tokens[255] == 255);
  CHECK(tokenizer.decode(tokens) == text);
  CHECK(tokenizer.vocab_size() == 256);
  CHECK_FALSE(tokenizer.end_of_text().has_value());
}

TEST_CASE("a byte tokenizer refuses what is no byte", "[data]") {
  CHECK_THROWS_WITH(ByteTokenizer().decode(Tokens{65, 256}),
                    "token 256 is outside of the byte vocabulary of 256");
}

TEST_CASE("a char vocabulary is sorted by code point", "[data]") {
  const auto tokenizer = CharTokenizer::from_text("zé\na€a", "text");
  CHECK(tokenizer.characters() == std::vector<char32_t>{U'\n', U'a', U'z', U'é', U'€'});
  CHECK(tokenizer.encode("a€z") == Tokens{1, 4, 2});
  CHECK(tokenizer.decode(Tokens{2, 3, 0}) == "zé\n");
}

TEST_CASE("encode appends", "[data]") {
  Tokens tokens = {7};
  CharTokenizer::from_text("ab", "text").encode("ba", tokens);
  CHECK(tokens == Tokens{7, 1, 0});
}

TEST_CASE("a char tokenizer names an unknown character and its place", "[data]") {
  const auto tokenizer = CharTokenizer::from_text("abc", "text");
  CHECK_THROWS_WITH(tokenizer.encode("aé"),
                    "char tokenizer: character U+00E9 'é' at byte 1 is not in the vocabulary of 3");
  CHECK_THROWS_WITH(tokenizer.encode("ab\n"),
                    "char tokenizer: character U+000A at byte 2 is not in the vocabulary of 3");
}

TEST_CASE("a char tokenizer refuses invalid UTF-8", "[data]") {
  CHECK_THROWS_WITH(CharTokenizer::from_text("ab\xFF", "a.txt"),
                    "a.txt: invalid UTF-8 (byte 0xFF) at byte 2");
  CHECK_THROWS_WITH(CharTokenizer::from_text("a", "a.txt").encode("a\xC3"),
                    "char tokenizer: invalid UTF-8 (byte 0xC3) at byte 1");
}

TEST_CASE("a char tokenizer refuses an empty or repeated vocabulary", "[data]") {
  CHECK_THROWS_WITH(CharTokenizer::from_text("", "a.txt"),
                    "a.txt: no text; a char vocabulary needs at least one character");
  CHECK_THROWS_WITH(CharTokenizer({}), "char tokenizer: the vocabulary is empty");
  CHECK_THROWS_WITH(CharTokenizer({U'a', U'a'}),
                    "char tokenizer: U+0061 appears twice in the vocabulary");
}

TEST_CASE("tokenizer kinds have names", "[data]") {
  CHECK(parse_tokenizer_kind("gpt2") == TokenizerKind::kGpt2);
  CHECK(tokenizer_kind_name(TokenizerKind::kChar) == "char");
  CHECK_THROWS_AS(parse_tokenizer_kind("bpe"), ConfigError);
  CHECK_THROWS_WITH(parse_tokenizer_kind("bpe"),
                    "unknown tokenizer bpe; expected byte, char or gpt2");
}

TEST_CASE("UTF-8 is read as the standard defines it", "[data]") {
  const auto valid = [](std::string_view text) { return valid_utf8_prefix(text) == text.size(); };
  CHECK(valid("plain text that is longer than eight bytes"));
  CHECK(valid("\xF4\x8F\xBF\xBF"));        // U+10FFFF
  CHECK_FALSE(valid("\xF4\x90\x80\x80"));  // past it
  CHECK_FALSE(valid("\xC0\x80"));          // overlong
  CHECK_FALSE(valid("\xE0\x80\x80"));      // overlong
  CHECK_FALSE(valid("\xED\xA0\x80"));      // a surrogate
  CHECK_FALSE(valid("\x80"));              // a continuation alone
  CHECK_FALSE(valid("12345678\xE2\x82"));  // cut short
  CHECK(count_code_points("a€\xFFz") == 4);
  CHECK(code_point_offset("a€z", 2) == 4);
  CHECK(code_point_offset("a€z", 9) == 5);
}

}  // namespace
}  // namespace ghost
