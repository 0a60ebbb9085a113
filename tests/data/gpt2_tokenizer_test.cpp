#include "data/gpt2_tokenizer.h"

#include <chrono>

#include <nlohmann/json.hpp>

#include "engine/core/error.h"
#include "tests/data/test_files.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

using Tokens = std::vector<std::int32_t>;

// A vocabulary of the 256 bytes, "ab", "abc" and "bc", in the files' alphabet. Only bytes 0x21 to
// 0x7E stand for themselves in what the tests encode.
std::string tiny_vocab() {
  nlohmann::json vocab;
  char32_t next = 256;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool is_printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    const char32_t character = is_printable ? byte : next++;
    std::string text;
    if (character < 0x80) {
      text = {static_cast<char>(character)};
    } else {
      text = {static_cast<char>(0xC0 | (character >> 6)),
              static_cast<char>(0x80 | (character & 0x3F))};
    }
    vocab[text] = byte;
  }
  vocab["bc"] = 256;
  vocab["ab"] = 257;
  vocab["abc"] = 258;
  vocab["<|endoftext|>"] = 259;
  return vocab.dump();
}

class TinyFiles : public TestDir {
 public:
  explicit TinyFiles(std::string_view merges = "#version: 0.2\nb c\na b\na bc\n") {
    write("encoder.json", tiny_vocab());
    write("vocab.bpe", merges);
  }
};

void check_cases(std::string_view file, std::size_t expected, SpecialTokens special) {
  const auto directory = shared_data("gpt2");
  if (!directory) {
    return;
  }
  const Gpt2Tokenizer tokenizer(*directory);
  CHECK(tokenizer.vocab_size() == 50257);
  CHECK(tokenizer.end_of_text() == 50256);
  std::ifstream in(*directory / file);
  std::size_t count = 0;
  for (std::string line; std::getline(in, line); ++count) {
    const auto json = nlohmann::json::parse(line);
    const auto text = json.at("text").get<std::string>();
    const auto tokens = tokenizer.encode(text, special);
    INFO(line);
    CHECK(tokens == json.at("ids").get<Tokens>());
    CHECK(tokenizer.decode(tokens) == text);
  }
  CHECK(count == expected);
}

TEST_CASE("GPT-2 tokens equal tiktoken's", "[data]") {
  check_cases("tokenizer_cases.jsonl", 1121, SpecialTokens::kAsText);
}

TEST_CASE("GPT-2 tokens equal llama.cpp's", "[data]") {
  check_cases("tokenizer_cases_llamacpp.jsonl", 46, SpecialTokens::kAsText);
}

TEST_CASE("GPT-2 white space is Unicode's White_Space", "[data]") {
  check_cases("tokenizer_edge_whitespace.jsonl", 16, SpecialTokens::kAsText);
}

TEST_CASE("GPT-2's end of text is recognised where asked for", "[data]") {
  check_cases("tokenizer_special.jsonl", 7, SpecialTokens::kRecognize);
}

TEST_CASE("merges apply by rank, then from the left", "[data]") {
  const TinyFiles dir;
  const Gpt2Tokenizer tokenizer(dir.path());
  CHECK(tokenizer.encode("abc") == Tokens{258});  // b c first, then a bc
  CHECK(tokenizer.encode("abab") == Tokens{257, 257});
  CHECK(tokenizer.encode("ab bcab") == Tokens{257, 32, 256, 257});
  CHECK(tokenizer.encode("").empty());
}

TEST_CASE("long words and long runs of spaces stay fast and exact", "[data]") {
  const TinyFiles dir;
  const Gpt2Tokenizer tokenizer(dir.path());
  std::string text;
  for (int i = 0; i < 100000; ++i) {
    text += "abc";
  }
  CHECK(tokenizer.encode(text) == Tokens(100000, 258));
  CHECK(tokenizer.encode(std::string(300000, ' ') + "b").size() == 300001);
}

TEST_CASE("bytes that are no UTF-8 survive a round trip", "[data]") {
  const TinyFiles dir;
  const Gpt2Tokenizer tokenizer(dir.path());
  std::string text = "ab\xFF\xFE abc\xE2\x82";
  CHECK(tokenizer.encode(text) == Tokens{257, 255, 254, 32, 258, 226, 130});
  for (int byte = 0; byte < 256; ++byte) {
    text.push_back(static_cast<char>(byte));
  }
  CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
}

TEST_CASE("merges.txt and vocab.json are the same files", "[data]") {
  const TinyFiles dir;
  std::filesystem::rename(dir / "encoder.json", dir / "vocab.json");
  std::filesystem::rename(dir / "vocab.bpe", dir / "merges.txt");
  CHECK(Gpt2Tokenizer(dir.path()).encode("abc") == Tokens{258});
}

TEST_CASE("a missing tokenizer file is named", "[data]") {
  const TestDir dir;
  CHECK_THROWS_WITH(Gpt2Tokenizer(dir.path()),
                    fmt::format("gpt2 tokenizer: {} holds neither vocab.bpe nor merges.txt",
                                dir.path().string()));
  dir.write("vocab.bpe", "b c\n");
  CHECK_THROWS_WITH(Gpt2Tokenizer(dir.path()),
                    fmt::format("gpt2 tokenizer: {} holds neither encoder.json nor vocab.json",
                                dir.path().string()));
}

TEST_CASE("a bad vocabulary is refused", "[data]") {
  const TinyFiles dir;
  const std::string file = (dir / "encoder.json").string();
  dir.write("encoder.json", "[1]");
  CHECK_THROWS_WITH(Gpt2Tokenizer(dir.path()),
                    file + ": expected a JSON object of token strings and ids");
  dir.write("encoder.json", R"({"a": 0, "b": 0})");
  CHECK_THROWS_WITH(Gpt2Tokenizer(dir.path()),
                    file + R"(: token "b" has id 0; expected each of 0 to 1 once)");
  dir.write("encoder.json", R"({"a b": 0})");
  CHECK_THROWS_WITH(Gpt2Tokenizer(dir.path()),
                    file + R"(: token "a b" is not written in GPT-2's byte alphabet)");
  dir.write("encoder.json", R"({"a": 0})");
  CHECK_THROWS_WITH(Gpt2Tokenizer(dir.path()), file + ": no token for byte 0x00");
}

TEST_CASE("bad merges are refused with their line", "[data]") {
  const TinyFiles dir("#version: 0.2\nb c\na\n");
  const std::string file = (dir / "vocab.bpe").string();
  CHECK_THROWS_WITH(Gpt2Tokenizer(dir.path()),
                    file + R"(:3: expected two symbols and one space, found "a")");
  dir.write("vocab.bpe", "c b\n");
  CHECK_THROWS_WITH(Gpt2Tokenizer(dir.path()),
                    file + R"(:1: merge "c b" uses a token that encoder.json lacks)");
  dir.write("vocab.bpe", "#version: 0.2\n");
  CHECK_THROWS_WITH(Gpt2Tokenizer(dir.path()), file + ": no merges in the file");
}

TEST_CASE("a token outside of the GPT-2 vocabulary is refused", "[data]") {
  const TinyFiles dir;
  CHECK_THROWS_WITH(Gpt2Tokenizer(dir.path()).decode(Tokens{260}),
                    "token 260 is outside of the gpt2 vocabulary of 260");
}

TEST_CASE("GPT-2 tokenizes megabytes a second", "[.benchmark]") {
  const auto directory = shared_data("gpt2");
  const auto file = shared_data("text/tinyshakespeare.txt");
  if (!directory || !file) {
    return;
  }
  const std::string text = read_text(*file);
  const Gpt2Tokenizer tokenizer(*directory);
  for (const char* run : {"cold", "warm"}) {
    const auto start = std::chrono::steady_clock::now();
    const auto tokens = tokenizer.encode(text);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    WARN(run << ": " << static_cast<double>(text.size()) / seconds.count() / 1e6 << " MB/s");
    CHECK(tokens.size() == 338025);
  }
}

}  // namespace
}  // namespace ghost
