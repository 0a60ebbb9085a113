#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <sys/types.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <fmt/format.h>

#include "engine/random/philox.h"
#include "tests/support/catch.h"
#include "tests/tools/program.h"

namespace ghost {
namespace {

using test::run_program;
using test::TemporaryDirectory;
using test::text_of;

// Dropout, accumulation and frequent checkpoints: everything that a resumed run must repeat.
void write_run(const TemporaryDirectory& dir) {
  test::prepare_tiny_text(dir, /*lines=*/400);
  dir.write("tiny.yaml",
            "data: {train: tiny_char/train_*.bin, val: tiny_char/val_*.bin}\n"
            "model: {type: gpt, layers: 2, heads: 2, channels: 16, max_seq_len: 16, dropout: 0.1}\n"
            "train: {steps: 40, batch_size: 3, seq_len: 16, micro_steps: 2, threads: 1}\n"
            "eval: {every: 10, batches: 2}\n"
            "checkpoint: {every: 3, keep_last: 2}\n");
}

struct FinalState {
  std::string model;
  std::string optimizer;
  bool operator==(const FinalState&) const = default;
};

FinalState final_state(const TemporaryDirectory& dir, const std::string& run) {
  const auto checkpoint = dir / (run + "/checkpoints/step-000040");
  return {.model = text_of(checkpoint / "model.safetensors"),
          .optimizer = text_of(checkpoint / "optimizer.safetensors")};
}

FinalState uninterrupted(const TemporaryDirectory& dir) {
  const auto outcome = run_program(dir, "train tiny.yaml --set run.dir=whole");
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  FinalState state = final_state(dir, "whole");
  REQUIRE_FALSE(state.model.empty());
  return state;
}

/// Steps of the train lines in metrics.jsonl.
std::vector<std::int64_t> logged_steps(const TemporaryDirectory& dir, const std::string& run) {
  std::vector<std::int64_t> steps;
  std::istringstream lines(text_of(dir / (run + "/metrics.jsonl")));
  for (std::string line; std::getline(lines, line);) {
    const std::string key = "{\"kind\":\"train\",\"step\":";
    if (line.starts_with(key)) {
      steps.push_back(std::stoll(line.substr(key.size())));
    }
  }
  return steps;
}

/// Starts a run in the background.
pid_t start_program(const TemporaryDirectory& dir, const std::vector<std::string>& arguments) {
  std::cout.flush();
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    if (chdir(dir.path().c_str()) != 0 || std::freopen(".stdout", "w", stdout) == nullptr ||
        std::freopen(".stderr", "w", stderr) == nullptr) {
      _exit(99);
    }
    std::vector<char*> argv{const_cast<char*>(GHOST_BINARY)};
    for (const std::string& argument : arguments) {
      argv.push_back(const_cast<char*>(argument.c_str()));
    }
    argv.push_back(nullptr);
    execv(GHOST_BINARY, argv.data());
    _exit(99);
  }
  return child;
}

TEST_CASE("a run that was cut at a step goes on bit by bit", "[tools]") {
  const TemporaryDirectory dir;
  write_run(dir);
  const FinalState expected = uninterrupted(dir);
  // As if the process had died after step 20: its newest checkpoint is of step 18.
  REQUIRE(run_program(dir, "train tiny.yaml --set run.dir=cut").code == 0);
  const auto checkpoints = dir / "cut/checkpoints";
  std::filesystem::remove_all(checkpoints / "step-000040");
  std::filesystem::remove_all(checkpoints / "step-000039");
  REQUIRE(
      run_program(dir, "train tiny.yaml --set run.dir=early --set checkpoint.keep_last=100").code ==
      0);
  for (int step = 21; step <= 40; ++step) {
    std::filesystem::remove_all(dir / fmt::format("early/checkpoints/step-{:06}", step));
  }
  for (const std::string run : {"cut", "early"}) {
    const auto resumed = run_program(dir, "train --resume " + run);
    INFO(run << ": " << resumed.err);
    CHECK(resumed.code == 0);
    CHECK(final_state(dir, run) == expected);
  }
  std::vector<std::int64_t> every_step;
  for (std::int64_t step = 1; step <= 40; ++step) {
    every_step.push_back(step);
  }
  CHECK(logged_steps(dir, "early") == every_step);
}

TEST_CASE("a hybrid that was cut goes on bit by bit", "[tools]") {
  const TemporaryDirectory dir;
  write_run(dir);
  dir.write(
      "tiny.yaml",
      "data: {train: tiny_char/train_*.bin, val: tiny_char/val_*.bin}\n"
      "model: {type: hybrid, layer_types: mamba2 + mamba3 + attention, layers: 3,\n"
      "        channels: 16, mamba2: {state: 8, head_dim: 8}, mamba3: {state: 8, head_dim: 8},\n"
      "        attention: {heads: 2, conv: 3, mlp: 24}}\n"
      "train: {steps: 40, batch_size: 3, seq_len: 16, micro_steps: 2, threads: 1}\n"
      "residuals: {preset: basis+recompute, sketch: {rank: 6}}\n"
      "eval: {every: 10, batches: 2}\n"
      "checkpoint: {every: 3, keep_last: 100}\n");
  const FinalState expected = uninterrupted(dir);
  REQUIRE(run_program(dir, "train tiny.yaml --set run.dir=cut").code == 0);
  for (int step = 16; step <= 40; ++step) {
    std::filesystem::remove_all(dir / fmt::format("cut/checkpoints/step-{:06}", step));
  }
  const auto resumed = run_program(dir, "train --resume cut");
  INFO(resumed.err);
  REQUIRE(resumed.code == 0);
  CHECK(final_state(dir, "cut") == expected);
}

/// The evaluation lines of metrics.jsonl.
std::vector<std::string> evaluations(const TemporaryDirectory& dir, const std::string& run) {
  std::vector<std::string> found;
  std::istringstream lines(text_of(dir / (run + "/metrics.jsonl")));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("{\"kind\":\"eval\"")) {
      found.push_back(line);
    }
  }
  return found;
}

TEST_CASE("a resumed run goes on in its training and evaluation streams", "[tools]") {
  const TemporaryDirectory dir;
  write_run(dir);
  const std::string streams =
      " --set data.sampler=stream --set data.skip_windows=1 --set data.eval_windows=stream";
  REQUIRE(run_program(dir, "train tiny.yaml --set run.dir=whole" + streams).code == 0);
  REQUIRE(
      run_program(dir, "train tiny.yaml --set run.dir=cut --set checkpoint.keep_last=100" + streams)
          .code == 0);
  for (int step = 16; step <= 40; ++step) {
    std::filesystem::remove_all(dir / fmt::format("cut/checkpoints/step-{:06}", step));
  }
  REQUIRE(run_program(dir, "train --resume cut").code == 0);
  CHECK(final_state(dir, "cut") == final_state(dir, "whole"));
  const auto expected = evaluations(dir, "whole");
  REQUIRE(expected.size() == 4);
  CHECK(evaluations(dir, "cut") == expected);
  // `eval` reads the windows of the evaluation after the run's last step.
  const std::string out = run_program(dir, "eval whole --json").out;
  const auto value_of = [](const std::string& line) {
    const std::string key = "\"val_loss\":";
    const std::size_t at = line.find(key) + key.size();
    return line.substr(at, line.find(',', at) - at);
  };
  CHECK(value_of(out) == value_of(expected.back()));
}

TEST_CASE("a resumed run remembers what its sketches have learnt", "[tools]") {
  const TemporaryDirectory dir;
  write_run(dir);
  const std::string sketches =
      " --set residuals.preset=basis --set residuals.sketch.rank=6 --set "
      "residuals.sketch.wiener=true --set residuals.sketch.schedule=linear --set "
      "residuals.sketch.final_rank=20";
  REQUIRE(run_program(dir, "train tiny.yaml --set run.dir=whole" + sketches).code == 0);
  REQUIRE(run_program(dir,
                      "train tiny.yaml --set run.dir=cut --set checkpoint.keep_last=100" + sketches)
              .code == 0);
  for (int step = 16; step <= 40; ++step) {
    std::filesystem::remove_all(dir / fmt::format("cut/checkpoints/step-{:06}", step));
  }
  const auto resumed = run_program(dir, "train --resume cut");
  INFO(resumed.err);
  REQUIRE(resumed.code == 0);
  CHECK(final_state(dir, "cut") == final_state(dir, "whole"));
  // 48 rows a micro-step; the rank of each step is in its line.
  const std::string log = text_of(dir / "cut/metrics.jsonl");
  CHECK_THAT(log, test::contains_text("\"sketch_rank\":6,"));
  CHECK_THAT(log, test::contains_text("\"sketch_rank\":13,"));
  CHECK_THAT(log, test::contains_text("\"sketch_rank\":20,"));
}

TEST_CASE("a killed run goes on bit by bit", "[slow]") {
  const TemporaryDirectory dir;
  write_run(dir);
  const auto begin = std::chrono::steady_clock::now();
  const FinalState expected = uninterrupted(dir);
  const std::chrono::duration<double> whole = std::chrono::steady_clock::now() - begin;
  const Philox random(2024);
  int num_cut = 0;
  for (std::uint32_t trial = 0; trial < 20; ++trial) {
    const std::string run = fmt::format("killed-{}", trial);
    const double share = uniform_from(random(trial, 0, 0, 0)[0]);
    const pid_t child = start_program(dir, {"train", "tiny.yaml", "--set", "run.dir=" + run});
    REQUIRE(child > 0);
    std::this_thread::sleep_for(whole * share);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    num_cut += WIFSIGNALED(status) ? 1 : 0;
    if (!std::filesystem::exists(dir / (run + "/config.yaml"))) {
      continue;  // killed before there was a run
    }
    const auto resumed = run_program(dir, "train --resume " + run);
    INFO("trial " << trial << ", killed after " << share << " of the run: " << resumed.err);
    CHECK(resumed.code == 0);
    CHECK(final_state(dir, run) == expected);
  }
  CHECK(num_cut >= 15);
}

TEST_CASE("SIGTERM writes a checkpoint and ends the run between two steps", "[tools]") {
  const TemporaryDirectory dir;
  write_run(dir);
  const pid_t child = start_program(
      dir, {"train", "tiny.yaml", "--set", "run.dir=stopped", "--set", "train.steps=1000000",
            "--set", "checkpoint.every=1000000", "--set", "eval.every=0"});
  REQUIRE(child > 0);
  for (int i = 0; i < 400 && logged_steps(dir, "stopped").size() < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  kill(child, SIGTERM);
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  const std::int64_t last = logged_steps(dir, "stopped").back();
  CHECK(std::filesystem::exists(dir /
                                fmt::format("stopped/checkpoints/step-{:06}/trainer.json", last)));
  CHECK_THAT(text_of(dir / ".stdout"),
             test::contains_text(fmt::format("SIGTERM at step {}: checkpoint written; go on with "
                                             "--resume stopped",
                                             last)));
}

}  // namespace
}  // namespace ghost
