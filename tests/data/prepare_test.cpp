#include "data/prepare.h"

#include <nlohmann/json.hpp>

#include "data/source_tree.h"
#include "data/tokenizer_file.h"
#include "engine/core/error.h"
#include "tests/data/test_files.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

using Tokens = std::vector<std::int32_t>;

Tokens read_shard(const std::filesystem::path& path) {
  const TokenShard shard(path);
  Tokens tokens(static_cast<std::size_t>(shard.num_tokens()));
  shard.read(0, tokens);
  return tokens;
}

std::string decoded(const std::filesystem::path& directory, std::string_view shard) {
  return load_tokenizer(directory)->decode(read_shard(directory / shard));
}

void check_against_reference(const std::vector<std::string>& names) {
  const auto data = shared_data("tokens");
  if (!data) {
    return;
  }
  const auto root = data->parent_path();
  for (const std::string& name : names) {
    const TestDir dir;
    prepare_text({.inputs = {root / "text" / name},
                  .output = dir / "set",
                  .bpe_directory = root / "gpt2",
                  .val_fraction = 0});
    const std::string reference = name.substr(0, name.find('.')) + ".bin";
    INFO(name);
    CHECK(read_text(dir / "set/train_000000.bin") == read_text(root / "tokens" / reference));
    CHECK_FALSE(std::filesystem::exists(dir / "set/val_000000.bin"));
  }
}

TEST_CASE("GPT-2 shards of text files equal the reference", "[data]") {
  check_against_reference({"tinyshakespeare.txt", "wikitext2_test.txt", "wikitext2_valid.txt"});
}

TEST_CASE("GPT-2 shards of JSON lines equal the reference", "[data]") {
  check_against_reference({"fineweb.jsonl", "fineweb_edu.jsonl", "state_union.jsonl",
                           "tinystories.jsonl", "wikipedia.jsonl"});
}

TEST_CASE("GPT-2 shards of packed JSON lines equal the reference", "[data]") {
  check_against_reference({"movie_reviews.jsonl.gz"});
}

TEST_CASE("tinyshakespeare splits as nanoGPT splits it", "[data]") {
  const auto text = shared_data("text/tinyshakespeare.txt");
  if (!text) {
    return;
  }
  const TestDir dir;
  const auto characters = prepare_named("tinyshakespeare", *text, dir.path());
  CHECK(characters.output == dir / "tinyshakespeare_char");
  CHECK(characters.vocab_size == 65);
  CHECK(characters.train_tokens == 1003854);
  CHECK(characters.val_tokens == 111540);
  CHECK(decoded(characters.output, "train_000000.bin") +
            decoded(characters.output, "val_000000.bin") ==
        read_text(*text));
  const auto gpt2 = prepare_text({.inputs = {*text},
                                  .output = dir / "gpt2",
                                  .bpe_directory = text->parent_path().parent_path() / "gpt2"});
  CHECK(gpt2.train_tokens == 301966);
  CHECK(gpt2.val_tokens == 36059);
}

TEST_CASE("a stream is cut by characters, not bytes", "[data]") {
  const TestDir dir;
  const auto result = prepare_text({.inputs = {dir.write("a.txt", "éééééxxxxx")},
                                    .output = dir / "set",
                                    .tokenizer = TokenizerKind::kByte,
                                    .val_fraction = 0.6});
  CHECK(decoded(dir / "set", "train_000000.bin") == "éééé");
  CHECK(decoded(dir / "set", "val_000000.bin") == "éxxxxx");
  CHECK(result.characters == 10);
  CHECK(result.train_tokens == 8);
  CHECK(result.val_tokens == 7);
}

TEST_CASE("documents validate evenly and are joined by newlines", "[data]") {
  const TestDir dir;
  std::string lines;
  for (char name = 'a'; name < 'k'; ++name) {
    lines += fmt::format("{{\"text\": \"{}{}\"}}\n", name, name);
  }
  const auto result = prepare_text({.inputs = {dir.write("a.jsonl", lines)},
                                    .output = dir / "set",
                                    .tokenizer = TokenizerKind::kChar,
                                    .val_fraction = 0.25});
  CHECK(result.documents == 10);
  CHECK(result.vocab_size == 11);
  CHECK(decoded(dir / "set", "val_000000.bin") == "dd\nhh");
  CHECK(decoded(dir / "set", "train_000000.bin") == "aa\nbb\ncc\nee\nff\ngg\nii\njj");
}

TEST_CASE("info.json tells what was made of what", "[data]") {
  const TestDir dir;
  const auto input = dir.write("a.txt", "0123456789");
  prepare_text({.inputs = {input},
                .output = dir / "set",
                .tokenizer = TokenizerKind::kByte,
                .shard_tokens = 4});
  const auto info = nlohmann::json::parse(read_text(dir / "set/info.json"));
  CHECK(info["tokenizer"] == "byte");
  CHECK(info["train_tokens"] == 9);
  CHECK(info["val_tokens"] == 1);
  CHECK(info["sources"][0]["path"] == input.string());
  CHECK(info["sources"][0]["sha256"] ==
        "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882");
  REQUIRE(info["files"].size() == 4);
  CHECK(info["files"][2]["name"] == "train_000002.bin");
  CHECK(info["files"][2]["tokens"] == 1);
}

TEST_CASE("an output is replaced only when asked for", "[data]") {
  const TestDir dir;
  PrepareOptions options = {.inputs = {dir.write("a.txt", "0123456789")},
                            .output = dir / "set",
                            .tokenizer = TokenizerKind::kByte};
  std::filesystem::create_directory(dir / "set");  // empty: free to use
  prepare_text(options);
  CHECK_THROWS_WITH(prepare_text(options),
                    (dir / "set").string() + " is there already; pass --force to replace it");
  options.inputs = {dir.write("b.txt", "abcdefghij")};
  options.force = true;
  prepare_text(options);
  CHECK(decoded(dir / "set", "train_000000.bin") == "abcdefghi");
  dir.write("other/letters.txt", "mine");
  options.output = dir / "other";
  CHECK_THROWS_WITH(prepare_text(options), (dir / "other").string() +
                                               " is there and holds no info.json; expected a new "
                                               "directory");
  CHECK(read_text(dir / "other/letters.txt") == "mine");
}

TEST_CASE("a failed preparation leaves nothing behind", "[data]") {
  const TestDir dir;
  const auto bad = dir.write("in/a.jsonl", "{\"text\": \"x\"}\n{\"text\": 1}\n");
  CHECK_THROWS_AS(
      prepare_text({.inputs = {bad}, .output = dir / "out/set", .tokenizer = TokenizerKind::kByte}),
      Error);
  CHECK(std::filesystem::is_empty(dir / "out"));
}

TEST_CASE("preparations that cannot be are refused", "[data]") {
  const TestDir dir;
  PrepareOptions options = {.output = dir / "set", .tokenizer = TokenizerKind::kByte};
  CHECK_THROWS_WITH(prepare_text(options), "nothing to prepare; expected at least one input file");
  options.inputs = {dir.write("a.txt", "abc")};
  options.val_fraction = 1;
  CHECK_THROWS_WITH(prepare_text(options), "val_fraction is 1; expected 0 to less than 1");
  options.inputs = {dir.write("a.jsonl", "{\"text\": \"abc\"}\n")};
  options.val_fraction = 0.1;
  CHECK_THROWS_WITH(prepare_text(options), options.inputs[0].string() +
                                               ": val_fraction 0.1 leaves 3 training and 0 "
                                               "validation tokens; expected both");
  options.inputs = {dir.write("a.txt", "")};
  CHECK_THROWS_WITH(prepare_text(options), options.inputs[0].string() + ": no text in the file");
  CHECK_THROWS_AS(prepare_named("shakespeare", "", dir.path()), ConfigError);
  CHECK_THROWS_WITH(prepare_named("shakespeare", "", dir.path()),
                    "no recipe for shakespeare; known are tinyshakespeare, source");
  CHECK_THROWS_WITH(prepare_named("tinyshakespeare", "", dir.path()),
                    "no text at " + (dir / "tinyshakespeare.txt").string() +
                        "; run `ghostgrad data fetch tinyshakespeare` or pass --from FILE");
  CHECK_THROWS_WITH(prepare_named("source", "", dir.path()),
                    "source: no directory at \"\"; pass the root of a source tree by --from");
}

TEST_CASE("a source tree becomes a corpus of bytes", "[data]") {
  const TestDir dir;
  const auto tree = dir / "tree";
  dir.write("tree/b.cpp", "int b;");
  dir.write("tree/a/a.h", "int a;");
  dir.write("tree/CMakeLists.txt", "project(x)");
  dir.write("tree/image.png", "PNG");
  dir.write("tree/zero.txt", std::string("a\0b", 3));
  dir.write("tree/latin.txt", "caf\xE9");
  dir.write("tree/empty.md", "");
  dir.write("tree/.git/x.txt", "x");
  dir.write("tree/build/x.cpp", "x");
  dir.write("tree/out/CMakeCache.txt", "x");
  dir.write("tree/runs/x.yaml", "x");
  const auto files = list_source_files(tree);
  REQUIRE(files.size() == 3);
  CHECK(files[0] == tree / "CMakeLists.txt");
  CHECK(files[1] == tree / "a/a.h");
  CHECK(files[2] == tree / "b.cpp");
  for (int i = 0; i < 7; ++i) {
    dir.write(fmt::format("tree/c{}.py", i), "pass");
  }
  const auto result = prepare_named("source", tree, dir / "datasets");
  CHECK(result.documents == 10);
  CHECK(decoded(result.output, "val_000000.bin") == "pass");
  CHECK(
      decoded(result.output, "train_000000.bin").starts_with("project(x)\nint a;\nint b;\npass\n"));
  dir.write("bare/image.png", "PNG");
  CHECK_THROWS_WITH(list_source_files(dir / "bare"),
                    (dir / "bare").string() + ": no source or text files in the tree");
}

}  // namespace
}  // namespace ghost
