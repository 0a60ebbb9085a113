#include <sstream>

#include <CLI/CLI.hpp>

#include "data/token_shard.h"
#include "engine/core/error.h"
#include "tests/tools/program.h"
#include "tools/data/command.h"
#include "tools/data/progress_line.h"

namespace ghost {
namespace {

using Catch::Matchers::Contains;
using test::check_refused;
using test::Outcome;
using test::run_program;
using test::text_of;
using TestDir = test::TemporaryDirectory;

/// A file of the real data that lies beside some checkouts.
std::optional<std::string> shared_data(const std::string& name) {
  const std::string path = GHOST_SOURCE_DIR "/../shared/data/" + name;
  if (!std::filesystem::exists(path)) {
    WARN("skipped: " << name << " is not beside this checkout");
    return std::nullopt;
  }
  return path;
}

TEST_CASE("data prepare writes a set and says what it wrote", "[tools]") {
  const TestDir dir;
  dir.write("a b.txt", "one two three four five\n");
  const Outcome outcome = run_program(dir, "data prepare 'a b.txt' --tokenizer byte");
  CHECK(outcome.err.empty());
  CHECK(outcome.code == 0);
  CHECK(outcome.out ==
        "wrote: datasets/a b_byte\n"
        "  info.json\n"
        "  tokenizer.json\n"
        "  train_000000.bin: 21 tokens\n"
        "  val_000000.bin: 3 tokens\n"
        "training tokens: 21\n"
        "validation tokens: 3\n"
        "vocabulary: 256\n"
        "documents: 1\n"
        "characters: 24\n");
  CHECK(run_program(dir, "data info 'datasets/a b_byte/val_000000.bin'").out.find("tokens: 3\n") !=
        std::string::npos);
}

TEST_CASE("data uniform writes tokens that nothing predicts", "[tools]") {
  const TestDir dir;
  const Outcome outcome =
      run_program(dir, "data uniform --vocab-size 4 --tokens 3000 --val-tokens 50 --seed 3");
  CHECK(outcome.code == 0);
  CHECK(outcome.out ==
        "wrote: datasets/uniform_4\n"
        "training tokens: 3,000\n"
        "validation tokens: 50\n"
        "lowest loss of a predictor: ln 4 = 1.3863\n");
  CHECK(TokenShard(dir / "datasets/uniform_4/train_000000.bin").max_token() == 3);
  check_refused(dir, "data uniform --vocab-size 0", 2,
                "--vocab-size is 0; expected 1 to 2147483647");
  check_refused(dir, "data uniform --tokens 0", 2, "--tokens is 0; expected a positive integer");
  check_refused(dir, "data uniform --val-tokens 0", 2,
                "--val-tokens is 0; expected a positive integer");
  check_refused(dir, "data uniform --seed -1", 2,
                "--seed is -1; expected zero or a positive integer");
}

TEST_CASE("data prepare takes every option", "[tools]") {
  const TestDir dir;
  dir.write("a.jsonl", "{\"body\": \"abab\"}\n{\"body\": \"baba\"}\n");
  dir.write("b.jsonl", "{\"body\": \"ab\"}\n");
  const std::string line =
      "data prepare a.jsonl b.jsonl --tokenizer char --field body --val-fraction 0 "
      "--shard-tokens 5 --out set";
  const Outcome outcome = run_program(dir, line);
  CHECK(outcome.code == 0);
  CHECK_THAT(outcome.out, Contains("  train_000000.bin: 5 tokens\n"
                                   "  train_000001.bin: 5 tokens\n"
                                   "  train_000002.bin: 2 tokens\n"));
  CHECK_THAT(outcome.out, Contains("validation tokens: 0\nvocabulary: 3\ndocuments: 3\n"));
  check_refused(dir, line, 1, "set is there already; pass --force to replace it");
  CHECK(run_program(dir, line + " --force").code == 0);
}

TEST_CASE("data prepare makes named sets below data.root", "[tools]") {
  const TestDir dir;
  dir.write("play.txt", "First Citizen:\nBefore we proceed any further, hear me speak.\n");
  const Outcome outcome =
      run_program(dir, "data prepare tinyshakespeare --from play.txt --set data.root=sets");
  CHECK(outcome.code == 0);
  CHECK_THAT(outcome.out, Contains("wrote: sets/tinyshakespeare_char\n"));
  CHECK(std::filesystem::exists(dir / "sets/tinyshakespeare_char/val_000000.bin"));
  dir.write("tree/a.cpp", "int main() { return 0; }\n");
  for (int i = 0; i < 10; ++i) {
    dir.write("tree/b" + std::to_string(i) + ".md", "text\n");
  }
  CHECK(run_program(dir, "data prepare source --from tree").code == 0);
  CHECK(std::filesystem::exists(dir / "datasets/source_bytes/train_000000.bin"));
}

TEST_CASE("data prepare gives the known token files", "[tools]") {
  const auto text = shared_data("text");
  const auto bpe = shared_data("gpt2");
  const auto tokens = shared_data("tokens");
  if (!text || !bpe || !tokens) {
    return;
  }
  const TestDir dir;
  std::filesystem::create_directories(dir / "datasets");
  std::filesystem::create_directory_symlink(std::filesystem::canonical(*bpe),
                                            dir / "datasets/gpt2");
  for (const std::string name : {"fineweb_edu.jsonl", "wikitext2_valid.txt"}) {
    const auto input = std::filesystem::canonical(*text) / name;
    const auto stem = input.stem().string();
    REQUIRE(run_program(dir, "data prepare " + input.string() + " --val-fraction 0").code == 0);
    CHECK(text_of(dir / ("datasets/" + stem + "_gpt2/train_000000.bin")) ==
          text_of(std::filesystem::path(*tokens) / (stem + ".bin")));
  }
}

TEST_CASE("data prepare refuses what it cannot do", "[tools]") {
  const TestDir dir;
  dir.write("a.txt", "text");
  check_refused(dir, "data prepare shakespeare", 2,
                "shakespeare: no such file, and no recipe; recipes are tinyshakespeare, source");
  check_refused(dir, "data prepare a.txt", 2,
                "no vocab.bpe in datasets/gpt2; run `ghostgrad data fetch gpt2-bpe`, or pass --bpe "
                "DIR or another --tokenizer");
  check_refused(dir, "data prepare a.txt --bpe x", 2,
                "no vocab.bpe in x; run `ghostgrad data fetch gpt2-bpe`, or pass --bpe DIR or "
                "another --tokenizer");
  check_refused(dir, "data prepare a.txt --tokenizer byte --val-fraction 1", 2,
                "--val-fraction is 1; expected 0 to less than 1");
  check_refused(dir, "data prepare a.txt --tokenizer byte --shard-tokens 0", 2,
                "--shard-tokens is 0; expected 1 to 2147483647");
  check_refused(dir, "data prepare a.txt --tokenizer byte --from b", 2,
                "--from goes with a recipe (tinyshakespeare, source); files are given by their own "
                "names");
  check_refused(dir, "data prepare a.txt a.txt --tokenizer byte", 2,
                "data prepare: 2 files; pass --out DIR");
  check_refused(dir, "data prepare a.txt --tokenizer byte --out a.bin", 2,
                "--out a.bin: expected a directory; with --val-fraction 0 its train_000000.bin is "
                "all of the text");
  check_refused(dir, "data prepare tinyshakespeare --tokenizer byte", 2,
                "--tokenizer does not go with the recipe tinyshakespeare; pass the file itself to "
                "choose it");
  check_refused(dir, "data prepare a.txt --set train.steps=3", 2,
                "--set train.steps=3: the data commands take only data.root=DIR");
  check_refused(dir, "data prepare tinyshakespeare", 1,
                "no text at datasets/tinyshakespeare.txt; run `ghostgrad data fetch "
                "tinyshakespeare` or pass --from FILE");
  CHECK_FALSE(std::filesystem::exists(dir / "datasets"));
}

TEST_CASE("data fetch copies from a local mirror", "[tools]") {
  const TestDir dir;
  const std::vector<std::int32_t> tokens = {1, 2, 3};
  std::filesystem::create_directories(dir / "mirror");
  for (const char* name : {"fineweb_val_000000.bin", "fineweb_train_000001.bin"}) {
    write_token_shard(dir / "mirror" / name, tokens, 50257);
  }
  const Outcome outcome =
      run_program(dir, "data fetch fineweb10B-gpt2 --shards 1 --from mirror --set data.root=sets");
  CHECK(outcome.code == 0);
  CHECK(outcome.out ==
        "sets/fineweb10B/fineweb_val_000000.bin\n"
        "sets/fineweb10B/fineweb_train_000001.bin\n");
  CHECK(text_of(dir / "sets/fineweb10B/fineweb_val_000000.bin") ==
        text_of(dir / "mirror/fineweb_val_000000.bin"));
}

TEST_CASE("data fetch and info refuse what they do not know", "[tools]") {
  const TestDir dir;
  check_refused(dir, "data fetch wikipedia", 2,
                "nothing to fetch by the name wikipedia; known are tinyshakespeare, gpt2-bpe, "
                "fineweb10B-gpt2, mnist, fashion_mnist, cifar10");
  check_refused(dir, "data fetch fineweb10B-gpt2 --shards 104", 2,
                "104 shards of fineweb10B-gpt2 asked for; expected 1 to 103");
  check_refused(dir, "data fetch tinyshakespeare --from nowhere.txt", 1,
                "no file at nowhere.txt; --from names a local copy");
  check_refused(dir, "data info nothing.bin", 1, "cannot read nothing.bin: no such file");
  CHECK(run_program(dir, "data").code == 2);
}

TEST_CASE("a progress line is for terminals only", "[tools]") {
  std::ostringstream plain;
  {
    ProgressLine line(plain, /*is_live=*/false);
    line.show("10 MiB");
  }
  CHECK(plain.str().empty());
  std::ostringstream live;
  {
    ProgressLine line(live, /*is_live=*/true);
    line.show("10 MiB");
    line.show("11 MiB");  // too soon
  }
  CHECK(live.str() == "\r\x1b[2K10 MiB\r\x1b[2K");
}

}  // namespace
}  // namespace ghost
