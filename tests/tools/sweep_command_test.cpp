#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "tests/support/catch.h"
#include "tests/tools/program.h"
#include "tools/sweep/sweep_results.h"

namespace ghost {
namespace {

using test::check_refused;
using test::contains_text;
using test::run_program;
using test::TemporaryDirectory;
using test::text_of;

const std::string kSweep =
    "base: tiny.yaml\n"
    "out: out\n"
    "seeds: [1, 2]\n"
    "runs:\n"
    "  exact: {}\n"
    "  slow: {schedule.peak: 1.0e-4, optimizer.lr_scales: [{parameter: 'lm_*', scale: 0.5}],\n"
    "         model.tied_head: false}\n";

void write_sweep(const TemporaryDirectory& dir) {
  test::prepare_tiny_text(dir);
  dir.write("tiny.yaml",
            "data: {train: tiny_char/train_*.bin, val: tiny_char/val_*.bin}\n"
            "model: {type: gpt, layers: 1, heads: 2, channels: 16, max_seq_len: 16}\n"
            "train: {steps: 6, batch_size: 2, seq_len: 8, threads: 1}\n"
            "eval: {every: 3, batches: 4}\n");
  dir.write("tiny.sweep.yaml", kSweep);
}

TEST_CASE("a sweep trains its runs, skips finished ones and resumes the others", "[tools]") {
  const TemporaryDirectory dir;
  write_sweep(dir);
  const auto first = run_program(dir, "sweep tiny.sweep.yaml --jobs 2");
  INFO(first.err << first.out);
  REQUIRE(first.code == 0);
  for (const char* run : {"exact-seed1", "exact-seed2", "slow-seed1", "slow-seed2"}) {
    CHECK_THAT(first.out, contains_text(fmt::format("{}: training 6 steps\n", run)));
    CHECK_THAT(first.out, contains_text(fmt::format("{}: done in ", run)));
  }
  CHECK_THAT(first.out, contains_text("results of 2 of 2 runs: out/results.md\n"));

  const std::string table = text_of(dir / "out/results.tsv");
  CHECK(std::count(table.begin(), table.end(), '\n') == 3);
  CHECK_THAT(table, contains_text("\nexact\t1,2\t"));
  CHECK_THAT(table, contains_text("\t96\t"));  // 6 steps of 2 x 8 tokens
  CHECK_THAT(text_of(dir / "out/results.md"), contains_text("| slow | 1 2 |"));
  for (const char* chart : {"out/curves.svg", "out/front.svg"}) {
    const std::string svg = text_of(dir / chart);
    CHECK(svg.starts_with("<svg xmlns"));
    CHECK_THAT(svg, contains_text("slow"));
    CHECK(svg.find("nan") == std::string::npos);
  }
  CHECK_THAT(text_of(dir / "out/slow-seed2/config.yaml"), contains_text("seed: 2"));

  const auto again = run_program(dir, "sweep tiny.sweep.yaml");
  CHECK(again.code == 0);
  CHECK_THAT(again.out, contains_text("exact-seed1: finished before\n"));
  CHECK(again.out.find("training") == std::string::npos);

  // Cut back to the checkpoint of step 3, one run goes on to the same end.
  const std::string weights = "out/slow-seed2/checkpoints/step-000006/model.safetensors";
  const std::string expected = text_of(dir / weights);
  std::filesystem::remove_all(dir / "out/slow-seed2/checkpoints/step-000006");
  const auto resumed = run_program(dir, "sweep tiny.sweep.yaml");
  CHECK(resumed.code == 0);
  CHECK_THAT(resumed.out, contains_text("slow-seed2: resuming, to 6 steps\n"));
  CHECK(text_of(dir / weights) == expected);
  CHECK(text_of(dir / "out/results.tsv").substr(0, 40) == table.substr(0, 40));
}

TEST_CASE("a sweep refuses runs of another config unless told to start them again", "[tools]") {
  const TemporaryDirectory dir;
  write_sweep(dir);
  REQUIRE(run_program(dir, "sweep tiny.sweep.yaml --only exact").code == 0);
  CHECK_FALSE(std::filesystem::exists(dir / "out/slow-seed1"));
  dir.write("tiny.sweep.yaml",
            "base: tiny.yaml\nout: out\nseeds: [1, 2]\nruns:\n"
            "  exact: {schedule.peak: 1.0e-4}\n");
  check_refused(dir, "sweep tiny.sweep.yaml", 2,
                "run exact: out/exact-seed1 holds a run with another config (\"peak: 0.0003\" "
                "there, \"peak: 0.0001\" now); pass --overwrite to start it again");
  const auto outcome = run_program(dir, "sweep tiny.sweep.yaml --overwrite");
  INFO(outcome.err << outcome.out);
  CHECK(outcome.code == 0);
  CHECK_THAT(text_of(dir / "out/exact-seed2/config.yaml"), contains_text("peak: 0.0001"));
}

TEST_CASE("a training that fails is named and does not stop the others", "[tools]") {
  const TemporaryDirectory dir;
  write_sweep(dir);
  dir.write("tiny.sweep.yaml",
            "base: tiny.yaml\nout: out\nruns:\n"
            "  none: {data.train: none_*.bin}\n  exact: {}\n");
  const auto outcome = run_program(dir, "sweep tiny.sweep.yaml");
  CHECK(outcome.code == 1);
  CHECK_THAT(outcome.out, contains_text("none-seed1337: exit code 1; error: no data file matches "
                                        "datasets/none_*.bin"));
  CHECK_THAT(outcome.out, contains_text("results of 1 of 2 runs"));
  CHECK(outcome.err ==
        "error: 1 of 2 trainings did not finish: none-seed1337; see their logs in out\n");
}

TEST_CASE("a sweep file with a mistake is refused before anything runs", "[tools]") {
  const TemporaryDirectory dir;
  write_sweep(dir);
  const auto refused = [&](const std::string& text, const std::string& message) {
    dir.write("bad.sweep.yaml", text);
    check_refused(dir, "sweep bad.sweep.yaml", 2, message);
  };
  check_refused(dir, "sweep nothing.yaml", 2,
                "cannot read nothing.yaml: No such file or directory");
  refused("base: tiny.yaml\nrun: {a: {}}\n",
          "bad.sweep.yaml:2: unknown key run; did you mean runs?");
  refused("base: tiny.yaml\n",
          "bad.sweep.yaml: runs is missing; expected a map of names to changes");
  refused("base: tiny.yaml\nruns: {}\n",
          "bad.sweep.yaml:2: runs is empty; expected a map of names to changes");
  refused("runs:\n  a: {}\n",
          "bad.sweep.yaml:2: run a has no config; expected `base` in the file or `config` here");
  refused("base: tiny.yaml\nruns:\n  a: {}\n  a: {}\n",
          "bad.sweep.yaml:4: key a stands twice in one map; first at bad.sweep.yaml:3");
  refused("base: tiny.yaml\nruns:\n  a/b: {}\n",
          "bad.sweep.yaml:3: run name \"a/b\"; expected letters, digits, _, -, + and dots, as it "
          "names a directory");
  refused("base: tiny.yaml\nruns:\n  a: {train.seed: 3}\n",
          "bad.sweep.yaml:3: run a sets train.seed; the sweep does, by `out` and `seeds`");
  refused("base: tiny.yaml\nruns:\n  a: 3\n",
          "bad.sweep.yaml:3: run a is \"3\"; expected a map of keys to values");
  refused("base: tiny.yaml\nseeds: [1, x]\nruns:\n  a: {}\n",
          "bad.sweep.yaml:2: seeds holds \"x\"; expected integers of 0 or more");
  refused("base: tiny.yaml\nseeds: 1\nruns:\n  a: {}\n",
          "bad.sweep.yaml:2: seeds is \"1\"; expected a list of integers");
  refused("base: tiny.yaml\nseeds: [1, 1]\nruns:\n  a: {}\n",
          "bad.sweep.yaml:2: seeds holds 1 twice");
  refused("base: tiny.yaml\nruns:\n  a: {}\n  b: {train.step: 3}\n",
          "bad.sweep.yaml: run b: --set train.step: unknown key train.step; did you mean "
          "train.steps?");
  refused("base: none.yaml\nruns:\n  a: {}\n",
          "bad.sweep.yaml: run a: cannot read none.yaml: No such file or directory");
  check_refused(dir, "sweep tiny.sweep.yaml --only fast", 2,
                "--only fast matches no run; the nearest is exact");
  check_refused(dir, "sweep tiny.sweep.yaml --jobs 0", 2,
                "--jobs is 0; expected a positive integer");
  CHECK_FALSE(std::filesystem::exists(dir / "out"));
}

TEST_CASE("the sweeps of the repository can be read", "[tools]") {
  const std::filesystem::path configs = GHOST_SOURCE_DIR "/configs";
  std::size_t num_sweeps = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(configs)) {
    if (entry.path().string().ends_with(".sweep.yaml")) {
      INFO(entry.path().string());
      CHECK(load_sweep(entry.path(), {}).jobs.size() >= 2);
      ++num_sweeps;
    }
  }
  CHECK(num_sweeps >= 9);
  const Sweep parity = load_sweep(configs / "basis/parity.sweep.yaml", {});
  CHECK(parity.out == "runs/basis/parity");
  CHECK(parity.jobs[0].config.run.dir == "runs/basis/parity/exact-seed42");
  REQUIRE(parity.jobs[1].config.optimizer.lr_scales.size() == 2);
  CHECK(parity.jobs[1].config.optimizer.lr_scales[1].parameter == "lm_head.weight");
  CHECK(parity.jobs[1].config.optimizer.lr_scales[1].scale == 0.9801);
}

SweepRow row(const char* run, double bytes, double seconds, std::vector<double> val_losses) {
  return {.run = run,
          .val_losses = std::move(val_losses),
          .seconds = seconds,
          .activation_bytes = bytes};
}

TEST_CASE("the front holds what nothing beats in bytes, seconds and loss", "[tools]") {
  const std::vector<SweepRow> rows{
      row("exact", 100, 10, {1.0}), row("small", 10, 10, {1.5}),
      row("slow", 10, 20, {1.2}),   row("beaten", 100, 11, {1.0}),
      row("fast", 100, 5, {2.0}),   row("diverged", 1, 1, {std::nan("")})};
  CHECK(pareto_front(rows) == std::vector<bool>{true, true, true, false, true, false});
}

TEST_CASE("a row gives mean and sample deviation over seeds", "[tools]") {
  const SweepRow three = row("a", 1, 1, {1.0, 2.0, 3.0});
  CHECK(three.val_loss() == 2.0);
  CHECK(three.val_loss_sd() == Approx(1.0));
  CHECK(std::isnan(row("a", 1, 1, {1.0}).val_loss_sd()));
}

}  // namespace
}  // namespace ghost
