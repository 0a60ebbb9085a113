#include "tests/tools/program.h"

namespace ghost {
namespace {

using Catch::Matchers::Contains;
using test::check_refused;
using test::Outcome;
using test::run_program;
using test::train_tiny_run;
using TestDir = test::TemporaryDirectory;

std::string sample(const TestDir& dir, const std::string& arguments) {
  const Outcome outcome = run_program(dir, "sample runs/tiny " + arguments);
  INFO(outcome.err);
  CHECK(outcome.code == 0);
  CHECK(outcome.err.empty());
  return outcome.out;
}

TEST_CASE("sample continues a prompt", "[tools]") {
  const TestDir dir;
  train_tiny_run(dir);
  const std::string text = sample(dir, "--prompt 'line 5' --tokens 30");
  CHECK(text.starts_with("line 5"));
  CHECK(text.size() == 6 + 30 + 1);  // longer than the model's 16 positions
  CHECK(sample(dir, "--prompt 'line 5' --tokens 30") == text);
  CHECK(sample(dir, "--prompt 'line 5' --tokens 30 --seed 2") != text);
  dir.write("prompt.txt", "line 5");
  CHECK(sample(dir, "--prompt-file prompt.txt --tokens 30") == text);
  CHECK(sample(dir, "--prompt 'line 5' --tokens 30 --temperature 0 --seed 1") ==
        sample(dir, "--prompt 'line 5' --tokens 30 --top-k 1 --seed 2"));
  CHECK(sample(dir, "--prompt 'line 5' --tokens 30 --top-p 1e-9 --checkpoint best").size() == 37);
  CHECK(sample(dir, "--tokens 7").size() == 8);
}

TEST_CASE("sample continues a prompt from recurrent states", "[tools]") {
  const TestDir dir;
  test::prepare_tiny_text(dir);
  dir.write(
      "tiny.yaml",
      "data: {train: tiny_char/train_*.bin}\n"
      "model: {type: hybrid, layer_types: mamba2 + mamba3 + attention, layers: 3,\n"
      "        channels: 16, mamba2: {state: 8, head_dim: 8}, mamba3: {state: 8, head_dim: 8},\n"
      "        attention: {heads: 2}}\n"
      "train: {steps: 3, batch_size: 3, seq_len: 8, threads: 1}\n");
  REQUIRE(run_program(dir, "train tiny.yaml").code == 0);
  const std::string text = sample(dir, "--prompt 'line 5' --tokens 30");
  CHECK(text.size() == 6 + 30 + 1);
  const std::string first = sample(dir, "--prompt 'line 5' --tokens 11");
  CHECK(text.starts_with(first.substr(0, 17)));
}

TEST_CASE("sample writes several texts", "[tools]") {
  const TestDir dir;
  train_tiny_run(dir);
  const std::string text = sample(dir, "--prompt is --tokens 20 --num 2");
  const std::string mark = "---------------\n";
  const std::size_t cut = text.find(mark);
  REQUIRE(cut != std::string::npos);
  const std::string first = text.substr(0, cut);
  const std::string second = text.substr(cut + mark.size());
  CHECK(first == sample(dir, "--prompt is --tokens 20"));
  CHECK(second != first);
  CHECK(second.starts_with("is"));
}

TEST_CASE("sample draws only tokens that the tokenizer has", "[tools]") {
  const TestDir dir;
  train_tiny_run(dir, "--set model.vocab_size=500");  // of 512 nearly equal logits, 21 have text
  CHECK(sample(dir, "--prompt is --tokens 40 --top-k 0").size() == 43);
}

TEST_CASE("sample refuses what it cannot continue", "[tools]") {
  const TestDir dir;
  check_refused(dir, "sample runs/none", 2, "runs/none: no such run directory or checkpoint");
  train_tiny_run(dir);
  const std::string run = "sample runs/tiny ";
  check_refused(dir, run + "--tokens 0", 2, "--tokens is 0; expected a positive integer");
  check_refused(dir, run + "--num 0", 2, "--num is 0; expected a positive integer");
  check_refused(dir, run + "--seed -1", 2, "--seed is -1; expected zero or a positive integer");
  check_refused(dir, run + "--temperature -1", 2,
                "sample: temperature is -1; expected zero or a positive number");
  check_refused(dir, run + "--top-p 0", 2, "sample: top_p is 0; expected above 0 and at most 1");
  const Outcome unknown = run_program(dir, run + "--prompt 'line Q'");
  CHECK(unknown.code == 2);
  CHECK_THAT(unknown.err, Contains("error: the prompt: ") && Contains("U+0051"));
  CHECK(unknown.out.empty());
  CHECK(run_program(dir, run + "--prompt a --prompt-file b").code == 2);
  CHECK(run_program(dir, run + "--prompt-file none.txt").code == 1);

  std::filesystem::remove_all(dir / "runs/tiny/tokenizer");
  const Outcome without = run_program(dir, run + "--set model.vocab_size=21");
  CHECK(without.code == 2);
  CHECK(without.err ==
        "error: runs/tiny/checkpoints/step-000006: no tokenizer in the run; pass GPT-2's files by "
        "--bpe DIR\n");
}

}  // namespace
}  // namespace ghost
