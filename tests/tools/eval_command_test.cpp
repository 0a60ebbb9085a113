#include <algorithm>
#include <cmath>
#include <sstream>

#include <nlohmann/json.hpp>

#include "data/tokenizer.h"
#include "data/tokenizer_file.h"
#include "tests/tools/program.h"

namespace ghost {
namespace {

using nlohmann::json;
using test::check_refused;
using test::Outcome;
using test::run_program;
using test::text_of;
using test::train_tiny_run;
using TestDir = test::TemporaryDirectory;

/// val_loss of each evaluation that the run wrote down.
std::vector<double> logged_losses(const TestDir& dir) {
  std::vector<double> losses;
  std::istringstream lines(text_of(dir / "runs/tiny/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const json entry = json::parse(line);
    if (entry.contains("val_loss")) {
      losses.push_back(entry.at("val_loss"));
    }
  }
  return losses;
}

json eval_json(const TestDir& dir, const std::string& arguments) {
  const Outcome outcome = run_program(dir, "eval " + arguments + " --json");
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(std::count(outcome.out.begin(), outcome.out.end(), '\n') == 1);
  return json::parse(outcome.out);
}

TEST_CASE("eval gives the loss that training gave", "[tools]") {
  const TestDir dir;
  train_tiny_run(dir);
  const std::vector<double> losses = logged_losses(dir);
  REQUIRE(losses.size() == 2);
  const json last = eval_json(dir, "runs/tiny");
  CHECK(last.at("val_loss") == losses[1]);
  CHECK(last.at("batches") == 4);
  CHECK(last.at("tokens") == 4 * 3 * 8);
  CHECK(last.at("weights") == "runs/tiny/checkpoints/step-000006");
  CHECK(eval_json(dir, "runs/tiny --checkpoint best").at("val_loss") ==
        *std::min_element(losses.begin(), losses.end()));
  CHECK(eval_json(dir, "runs/tiny/checkpoints/step-000003").at("val_loss") == losses[0]);
}

TEST_CASE("eval says what the loss means for the text", "[tools]") {
  const TestDir dir;
  train_tiny_run(dir);
  const json result = eval_json(dir, "runs/tiny --batches 0 --set train.batch_size=1");
  const double loss = result.at("val_loss");
  CHECK(result.at("batch_size") == 1);
  CHECK(result.at("batches").get<int>() > 4);
  CHECK(result.at("perplexity") == std::exp(loss));
  CHECK(result.at("bits_per_token").get<double>() == Approx(loss / std::log(2.0)).epsilon(1e-14));
  CHECK(result.at("bits_per_character") == result.at("bits_per_token"));
  CHECK(result.at("bits_per_byte") == result.at("bits_per_token"));  // the text is ASCII
  const Outcome lines = run_program(dir, "eval runs/tiny");
  CHECK(lines.code == 0);
  CHECK(lines.out.starts_with("weights: runs/tiny/checkpoints/step-000006\nval loss: "));
  CHECK(lines.out.find("\nbits per character: ") != std::string::npos);
  CHECK(lines.out.ends_with("\nbatches: 4 of 3 x 8, 96 tokens\n"));
}

TEST_CASE("bits per byte count the bytes of the scored text", "[tools]") {
  const TestDir dir;
  std::string text;
  for (int i = 0; i < 200; ++i) {
    text += "äb";  // three bytes, two characters
  }
  dir.write("tiny.txt", text);
  dir.write("tiny.yaml",
            "data: {train: tiny_char/train_*.bin, val: tiny_char/val_*.bin}\n"
            "model: {layers: 1, heads: 1, channels: 8, max_seq_len: 8}\n"
            "train: {steps: 1, batch_size: 1, seq_len: 8, threads: 1}\n");
  REQUIRE(run_program(dir, "data prepare tiny.txt --tokenizer char").code == 0);
  REQUIRE(run_program(dir, "train tiny.yaml").code == 0);
  const json result = eval_json(dir, "runs/tiny");
  CHECK(result.at("bits_per_character") == result.at("bits_per_token"));
  CHECK(result.at("bits_per_byte").get<double>() * 1.5 ==
        Approx(result.at("bits_per_character").get<double>()).epsilon(1e-14));
}

TEST_CASE("eval refuses what it cannot evaluate", "[tools]") {
  const TestDir dir;
  check_refused(dir, "eval runs/none", 2, "runs/none: no such run directory or checkpoint");
  check_refused(dir, "eval", 2, "RUN_DIR is required");
  train_tiny_run(dir);
  check_refused(dir, "eval runs/tiny --batches -1", 2,
                "--batches is -1; expected zero or a positive integer");
  CHECK(run_program(dir, "eval runs/tiny --checkpoint first").code == 2);
  check_refused(dir, "eval runs/tiny --set data.val=", 2,
                "--set data.val: data.val is null; expected a text");
  check_refused(dir, "eval runs/tiny --set \"data.val=''\"", 2,
                "data.val is empty; expected token files below data.root");
  std::filesystem::create_directories(dir / "empty/checkpoints");
  check_refused(dir, "eval empty", 2, "empty: no complete checkpoint in this run directory");
  CHECK(run_program(dir, "eval runs/tiny --set data.val=none.bin").code == 2);

  dir.write("other.txt", "another alphabet: XYZ XYZ XYZ XYZ XYZ XYZ XYZ XYZ");
  REQUIRE(run_program(dir, "data prepare other.txt --tokenizer char").code == 0);
  check_refused(dir, "eval runs/tiny --set data.val=other_char/val_*.bin", 2,
                "data.val: datasets/other_char/tokenizer.json is another tokenizer (char, 15 "
                "tokens) than the run's (char, 21)");

  std::filesystem::resize_file(dir / "runs/tiny/checkpoints/step-000006/model.safetensors", 100);
  const Outcome damaged = run_program(dir, "eval runs/tiny");
  CHECK(damaged.code == 1);
  CHECK(damaged.err.find("model.safetensors: 100 bytes; expected ") != std::string::npos);
  CHECK(damaged.out.empty());
}

}  // namespace
}  // namespace ghost
