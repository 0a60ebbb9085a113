#include "data/info.h"

#include "data/token_shard.h"
#include "data/tokenizer_file.h"
#include "engine/core/error.h"
#include "engine/io/safetensors.h"
#include "tests/data/test_files.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

TEST_CASE("a shard is described", "[data]") {
  const TestDir dir;
  const auto path = dir / "a.bin";
  write_token_shard(path, std::vector<std::int32_t>{50256, 7, 8}, 50257);
  CHECK(describe_data_file(path) ==
        "file: " + path.string() +
            "\nbytes: 1030\nformat: token shard (llm.c)\ntokens: 3\ntoken type: uint16\n"
            "largest token: 50256\nvocabulary: 50257 (GPT-2), by the largest token\n"
            "first tokens: 50256 7 8\n");
}

TEST_CASE("a nanoGPT file is described", "[data]") {
  const TestDir dir;
  const auto path = dir.write("train.bin", std::string("\x05\0\x09\0", 4));
  CHECK(describe_data_file(path) ==
        "file: " + path.string() +
            "\nbytes: 4\nformat: raw uint16 tokens (nanoGPT; there is no header)\ntokens: 2\n"
            "token type: uint16\nlargest token: 9\n"
            "vocabulary: bytes or characters, by the largest token\nfirst tokens: 5 9\n");
}

TEST_CASE("text and JSON lines are described", "[data]") {
  const TestDir dir;
  const auto text = dir.write("a.txt", "né\xFF");
  CHECK(describe_data_file(text) ==
        "file: " + text.string() +
            "\nbytes: 4\nformat: plain text\ndocuments: 1\ncharacters: 3\nbytes of text: 4\n"
            "encoding: not UTF-8 throughout\n");
  const auto lines = dir.write("a.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"c\"}\n");
  CHECK(describe_data_file(lines) ==
        "file: " + lines.string() +
            "\nbytes: 29\nformat: JSON lines\ndocuments: 2\ncharacters: 3\nbytes of text: 3\n"
            "encoding: UTF-8\n");
}

TEST_CASE("a tokenizer is described", "[data]") {
  const TestDir dir;
  save_tokenizer(CharTokenizer({U'a', U'b'}), dir.path());
  const auto text = describe_data_file(dir / "tokenizer.json");
  CHECK(text.ends_with("format: tokenizer\nkind: char\nvocabulary: 2\nend of text: none\n"));
}

TEST_CASE("a safetensors file is described", "[data]") {
  const TestDir dir;
  const std::vector<float> values(6);
  const std::vector<TensorView> tensors = {{.name = "a",
                                            .dtype = "F32",
                                            .shape = {2, 2},
                                            .bytes = std::as_bytes(std::span(values).first(4))},
                                           {.name = "b",
                                            .dtype = "F32",
                                            .shape = {2},
                                            .bytes = std::as_bytes(std::span(values).last(2))}};
  write_safetensors(dir / "m.safetensors", tensors);
  CHECK(describe_data_file(dir / "m.safetensors")
            .ends_with("format: safetensors\ntensors: 2 (2 F32)\nparameters: 6\n"));
}

TEST_CASE("files that cannot be described are refused", "[data]") {
  const TestDir dir;
  CHECK_THROWS_WITH(describe_data_file(dir / "none.bin"),
                    "cannot read " + (dir / "none.bin").string() + ": no such file");
  CHECK_THROWS_WITH(describe_data_file(dir.path()),
                    "cannot read " + dir.path().string() + ": not a regular file");
  const auto other = dir.write("a.parquet", "PAR1");
  CHECK_THROWS_WITH(describe_data_file(other),
                    other.string() +
                        ": unknown kind of text; expected .txt, .jsonl or .ndjson, or "
                        "one of them with .gz");
}

}  // namespace
}  // namespace ghost
