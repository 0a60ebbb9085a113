#include "data/tokenizer_file.h"

#include "tests/data/test_files.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

TEST_CASE("tokenizers survive a save and a load", "[data]") {
  const TestDir dir;
  const std::string text = "é\n\"\\ abc";
  save_tokenizer(ByteTokenizer(), dir.path());
  CHECK(load_tokenizer(dir / "tokenizer.json")->encode(text) == ByteTokenizer().encode(text));
  const auto characters = CharTokenizer::from_text(text, "text");
  save_tokenizer(characters, dir.path());
  const auto loaded = load_tokenizer(dir.path());
  CHECK(loaded->kind() == TokenizerKind::kChar);
  CHECK(loaded->vocab_size() == 8);
  CHECK(loaded->encode(text) == characters.encode(text));
}

TEST_CASE("a GPT-2 tokenizer is saved with its files", "[data]") {
  const auto bpe = shared_data("gpt2");
  if (!bpe) {
    return;
  }
  const TestDir dir;
  save_tokenizer(*load_tokenizer(*bpe), dir.path());
  const auto tokenizer = load_tokenizer(dir.path());
  CHECK(tokenizer->kind() == TokenizerKind::kGpt2);
  CHECK(tokenizer->encode("Hello world") == std::vector<std::int32_t>{15496, 995});
  dir.write("vocab.bpe", "changed");
  CHECK_THROWS_WITH(
      load_tokenizer(dir.path()),
      (dir / "vocab.bpe").string() +
          ": sha256 is d67e2e944994496c8d8ec76eed0cf9f09679448d584b532bebf941852a37f5ed; "
          "tokenizer.json says "
          "\"1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5\"");
}

TEST_CASE("bad side files are refused", "[data]") {
  const TestDir dir;
  const auto refused = [&](std::string_view json, const std::string& message) {
    const auto path = dir.write("tokenizer.json", json);
    CHECK_THROWS_WITH(load_tokenizer(path), path.string() + ": " + message);
  };
  refused("{", "not a tokenizer side file: expected a JSON object with \"kind\"");
  refused(R"({"vocab_size": 256})",
          "not a tokenizer side file: expected a JSON object with \"kind\"");
  refused(R"({"kind": "words"})", "tokenizer of kind words; expected byte, char or gpt2");
  refused(R"({"kind": "byte", "vocab_size": 255})",
          "vocab_size is 255; its byte vocabulary has 256");
  refused(R"({"kind": "byte"})", "vocab_size is null; its byte vocabulary has 256");
  refused(R"({"kind": "char", "vocab_size": 2})",
          "expected \"characters\", a list of one-character strings");
  refused(R"({"kind": "char", "characters": ["a", "bc"]})",
          "\"bc\" in \"characters\"; expected a string of one character");
  refused(R"({"kind": "gpt2"})", "expected \"files\", names and sha256 of the GPT-2 files");
}

}  // namespace
}  // namespace ghost
