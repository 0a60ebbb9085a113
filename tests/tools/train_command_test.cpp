#include <algorithm>

#include "engine/device/cuda/devices.h"
#include "engine/io/checkpoint.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/tools/program.h"

namespace ghost {
namespace {

using test::check_refused;
using test::run_program;
using test::TemporaryDirectory;
using test::text_of;
using test::train_tiny_run;

TEST_CASE("an unknown command is named", "[tools]") {
  const TemporaryDirectory dir;
  check_refused(
      dir, "trian", 2,
      "unknown command trian; expected one of train, sweep, eval, sample, data, inspect, bench, "
      "report, export, import");
}

TEST_CASE("train refuses configs that cannot be read", "[tools]") {
  const TemporaryDirectory dir;
  check_refused(dir, "train", 2, "train: expected a config file or --resume RUN_DIR");
  check_refused(dir, "train nothing.yaml", 2,
                "cannot read nothing.yaml: No such file or directory");
  dir.write("typo.yaml", "train:\n  steps: 10\noptimizer:\n  weight_decoy: 1\n");
  check_refused(dir, "train typo.yaml", 2,
                "typo.yaml:4: unknown key optimizer.weight_decoy; did you mean "
                "optimizer.weight_decay?");
  dir.write("type.yaml", "train:\n  steps: many\n");
  check_refused(dir, "train type.yaml", 2,
                "type.yaml:2: train.steps is \"many\"; expected an integer");
  dir.write("range.yaml", "train: {batch_size: 0}\n");
  check_refused(dir, "train range.yaml", 2,
                "range.yaml:1: train.batch_size is 0; expected a positive integer");
  dir.write("long.yaml", "model: {max_seq_len: 16}\ntrain: {seq_len: 32}\n");
  check_refused(dir, "train long.yaml", 2,
                "long.yaml:2: train.seq_len is 32; expected at most model.max_seq_len 16, the "
                "position table");
  dir.write("plain.yaml", "{}\n");
  check_refused(dir, "train plain.yaml --set train.dtype=f16", 2,
                "--set train.dtype: train.dtype is \"f16\"; expected one of f32, bf16, f64");
  if (!kHasCuda) {
    check_refused(dir, "train plain.yaml --device cuda:9", 2,
                  "device is \"cuda:9\"; this build has no CUDA backend, expected cpu");
  } else if (test::cuda_devices().empty()) {
    check_refused(dir, "train plain.yaml --device cuda", 2,
                  "device is \"cuda\"; expected " + cuda::expected_devices());
  }
  check_refused(dir, "train plain.yaml --device cuda --set train.dtype=f64", 2,
                "--set train.dtype: train.dtype is f64; expected f32 or bf16 where device is cuda, "
                "as f64 runs on the CPU only");
  check_refused(dir, "train plain.yaml --device gpu", 2,
                "device is \"gpu\"; expected cpu, cuda or cuda:N");
  check_refused(dir, "train --resume nowhere", 2, "--resume nowhere: no such run directory");
  CHECK_FALSE(std::filesystem::exists(dir / "runs"));
}

TEST_CASE("train refuses data that does not fit and leaves nothing behind", "[tools]") {
  const TemporaryDirectory dir;
  train_tiny_run(dir);
  check_refused(dir, "train tiny.yaml --set run.dir=x --set data.train=none_*.bin", 1,
                "no data file matches datasets/none_*.bin; `ghostgrad data` fetches and prepares "
                "data");
  check_refused(dir, "train tiny.yaml --set run.dir=x --set model.vocab_size=3", 2,
                "model.vocab_size is 3; the tokenizer of the data has 21 tokens");
  check_refused(dir, "train tiny.yaml --set run.dir=x --set train.init_from=runs/none", 2,
                "runs/none: no such run directory or checkpoint");
  CHECK_FALSE(std::filesystem::exists(dir / "x/metrics.jsonl"));
}

TEST_CASE("train keeps the run that a directory holds", "[tools]") {
  const TemporaryDirectory dir;
  train_tiny_run(dir);
  const std::string before = text_of(dir / "runs/tiny/metrics.jsonl");
  check_refused(
      dir, "train tiny.yaml", 2,
      "run.dir runs/tiny already holds a run (step-000006); pass --resume runs/tiny to go "
      "on with it, or --overwrite");
  CHECK(text_of(dir / "runs/tiny/metrics.jsonl") == before);
  CHECK(run_program(dir, "train tiny.yaml --overwrite").code == 0);
}

TEST_CASE("train refuses a checkpoint that does not fit", "[tools]") {
  const TemporaryDirectory dir;
  train_tiny_run(dir);
  const std::string config = text_of(dir / "runs/tiny/config.yaml");
  check_refused(
      dir, "train --resume runs/tiny --set train.steps=9 --set model.channels=32", 1,
      "runs/tiny/checkpoints/step-000006/model.safetensors: tensor transformer.wte.weight "
      "has shape [64,16]; expected [64,32]");
  CHECK(text_of(dir / "runs/tiny/config.yaml") == config);
  const auto model = dir / "runs/tiny/checkpoints/step-000006/model.safetensors";
  std::string bytes = text_of(model);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  std::ofstream(model, std::ios::binary) << bytes;
  const auto damaged = run_program(dir, "train --resume runs/tiny --set train.steps=9");
  CHECK(damaged.code == 1);
  CHECK_THAT(damaged.err,
             test::contains_text("step-000006/model.safetensors: damaged, its SHA-256 is "));
  std::ofstream(model, std::ios::binary) << bytes.substr(0, 100);
  const auto cut = run_program(dir, "train --resume runs/tiny --set train.steps=9");
  CHECK(cut.code == 1);
  CHECK_THAT(cut.err, test::contains_text("step-000006/model.safetensors: 100 bytes; expected "));
}

TEST_CASE("a full disk during a checkpoint leaves the one before", "[tools]") {
  const TemporaryDirectory dir;
  train_tiny_run(dir);
  // No file may grow beyond 16 KiB: the log still can, the weights cannot. At the end of the run,
  // and in the background long before it.
  for (const char* options : {"9", "1000000 --set checkpoint.every=2"}) {
    const std::string command =
        "cd '" + dir.path().string() + "' && bash -c \"ulimit -f 16; '" + GHOST_BINARY +
        "' train --resume runs/tiny --set train.steps=" + options + "\" > .stdout 2> .stderr";
    const int status = std::system(command.c_str());
    CHECK(WEXITSTATUS(status) == 1);
    const std::string error = text_of(dir / ".stderr");
    CHECK_THAT(error, test::contains_text("error: cannot write runs/tiny/checkpoints/.step-"));
    CHECK_THAT(error, test::contains_text("File too large"));
    CHECK(std::count(error.begin(), error.end(), '\n') == 1);
    CHECK(std::filesystem::exists(dir / "runs/tiny/checkpoints/step-000006/trainer.json"));
    CHECK(CheckpointDirectory(dir / "runs/tiny/checkpoints").newest()->filename() == "step-000006");
  }
  const auto resumed = run_program(dir, "train --resume runs/tiny --set train.steps=9");
  INFO(resumed.err);
  CHECK(resumed.code == 0);
  CHECK(std::filesystem::exists(dir / "runs/tiny/checkpoints/step-000009"));
}

TEST_CASE("a step that is not finite is named", "[tools]") {
  const TemporaryDirectory dir;
  train_tiny_run(dir);
  const auto stopped =
      run_program(dir,
                  "train tiny.yaml --set run.dir=hot --set schedule.peak=1e30 --set "
                  "schedule.warmup_steps=0 --set optimizer.grad_clip=0");
  CHECK(stopped.code == 1);
  CHECK_THAT(stopped.err, Catch::Matchers::StartsWith("error: step 2: loss "));
  CHECK_THAT(stopped.err, test::contains_text("not finite") || test::contains_text("is inf") ||
                              test::contains_text("is nan") || test::contains_text("is -nan"));
  CHECK_THAT(stopped.err, test::contains_text("there is no checkpoint yet"));
  const auto skipped = run_program(
      dir,
      "train tiny.yaml --set run.dir=skip --set schedule.peak=1e30 --set "
      "schedule.warmup_steps=0 --set optimizer.grad_clip=0 --set train.on_nonfinite=skip");
  INFO(skipped.err);
  CHECK(skipped.code == 0);
  CHECK_THAT(text_of(dir / "skip/metrics.jsonl"), test::contains_text("\"event\":\"nonfinite\""));
}

TEST_CASE("config.yaml of a run reproduces the run", "[tools]") {
  const TemporaryDirectory dir;
  train_tiny_run(dir);
  REQUIRE(run_program(dir, "train runs/tiny/config.yaml --set run.dir=again").code == 0);
  const std::string file = "/checkpoints/step-000006/model.safetensors";
  const std::string model = text_of(dir / ("runs/tiny" + file));
  CHECK_FALSE(model.empty());
  CHECK(text_of(dir / ("again" + file)) == model);
}

TEST_CASE("gradient accumulation gives the step of the larger batch", "[tools]") {
  const TemporaryDirectory dir;
  train_tiny_run(dir);
  for (const char* sizes : {"--set run.dir=one --set train.batch_size=6",
                            "--set run.dir=two --set train.micro_steps=2"}) {
    REQUIRE(run_program(dir, std::string("train tiny.yaml --set train.dtype=f64 ") + sizes).code ==
            0);
  }
  const auto last_loss = [&](const std::string& run) {
    const std::string log = text_of(dir / (run + "/metrics.jsonl"));
    const std::size_t at = log.rfind("\"loss\":") + 7;
    return std::stod(log.substr(at));
  };
  CHECK(last_loss("one") == Approx(last_loss("two")).epsilon(1e-12));
}

}  // namespace
}  // namespace ghost
