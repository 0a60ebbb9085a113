#include <sstream>
#include <vector>

#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/tools/program.h"

namespace ghost {
namespace {

using nlohmann::json;
using test::run_program;
using test::TemporaryDirectory;
using test::text_of;

void write_run(const TemporaryDirectory& dir, const std::string& model) {
  test::prepare_tiny_text(dir, /*lines=*/200);
  dir.write("tiny.yaml",
            "data: {train: tiny_char/train_*.bin, val: tiny_char/val_*.bin}\n"
            "model: " +
                model +
                "\n"
                "train: {steps: 12, batch_size: 3, seq_len: 16, micro_steps: 2, threads: 1}\n"
                "eval: {every: 6, batches: 2}\n"
                "checkpoint: {every: 3, keep_last: 100}\n");
}

const std::string kGpt = "{type: gpt, layers: 2, heads: 2, channels: 16, max_seq_len: 16}";
const std::string kHybrid =
    "{type: hybrid, layer_types: mamba2 + mamba3 + attention, layers: 3, channels: 16,\n"
    "        mamba2: {state: 8, head_dim: 8}, mamba3: {state: 8, head_dim: 8},\n"
    "        attention: {heads: 2, conv: 3, mlp: 24}}";
const std::string kRegions =
    "{type: gpt, layers: 4, heads: 2, channels: 16, max_seq_len: 16,\n"
    "        regions: {layers_per_region: 1, state_dim: 4, backward: scan}}";

void train(const TemporaryDirectory& dir, const std::string& options) {
  const auto outcome = run_program(dir, "train tiny.yaml " + options);
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
}

std::vector<json> lines_of(const TemporaryDirectory& dir, const std::string& run,
                           const std::string& kind) {
  std::vector<json> found;
  std::istringstream lines(text_of(dir / (run + "/metrics.jsonl")));
  for (std::string line; std::getline(lines, line);) {
    json object = json::parse(line);
    if (object.at("kind") == kind) {
      found.push_back(std::move(object));
    }
  }
  return found;
}

TEST_CASE("a monitor changes nothing in any training", "[tools]") {
  const std::string last = "/checkpoints/step-000012/model.safetensors";
  for (const std::string& model : {kGpt, kHybrid, kRegions}) {
    const TemporaryDirectory dir;
    write_run(dir, model);
    for (const std::string residuals :
         {"", " --set residuals.preset=basis+recompute --set residuals.sketch.rank=6"}) {
      CAPTURE(model, residuals);
      train(dir, "--overwrite --set run.dir=plain" + residuals);
      train(dir, "--overwrite --set run.dir=watched --set monitor.every=2" + residuals);
      CHECK(text_of(dir / ("plain" + last)) == text_of(dir / ("watched" + last)));
      CHECK(lines_of(dir, "watched", "monitor").size() == 6);
      CHECK(lines_of(dir, "plain", "monitor").empty());
    }
  }
}

TEST_CASE("a monitored run that was cut goes on bit by bit", "[tools]") {
  const TemporaryDirectory dir;
  write_run(dir, kGpt);
  train(dir, "--set run.dir=whole --set monitor.every=2");
  train(dir, "--set run.dir=cut --set monitor.every=2");
  const std::string last = "checkpoints/step-000012";
  for (const char* step : {"09", "12"}) {
    std::filesystem::remove_all(dir / (std::string("cut/checkpoints/step-0000") + step));
  }
  REQUIRE(run_program(dir, "train --resume cut").code == 0);
  for (const std::string file : {"/model.safetensors", "/optimizer.safetensors"}) {
    CHECK(text_of(dir / ("cut/" + last + file)) == text_of(dir / ("whole/" + last + file)));
  }
  CHECK(lines_of(dir, "cut", "monitor") == lines_of(dir, "whole", "monitor"));
  CHECK(lines_of(dir, "cut", "correlation") == lines_of(dir, "whole", "correlation"));
}

TEST_CASE("a monitor can come and go with a resume", "[tools]") {
  const TemporaryDirectory dir;
  write_run(dir, kGpt);
  train(dir, "--set run.dir=run --set train.steps=3");
  const auto with = run_program(
      dir, "train --resume run --set train.steps=6 --set monitor.every=1 --set monitor.rank=2");
  INFO(with.err);
  REQUIRE(with.code == 0);
  CHECK(lines_of(dir, "run", "monitor").size() == 3);
  // Back to the first config: what the monitor has left is passed over.
  dir.write("run/config.yaml", text_of(dir / "tiny.yaml"));
  const auto without = run_program(dir, "train --resume run --set train.steps=9");
  INFO(without.err);
  CHECK(without.code == 0);
  CHECK(lines_of(dir, "run", "monitor").size() == 3);
}

TEST_CASE("a monitored run says what it has seen", "[tools]") {
  const TemporaryDirectory dir;
  write_run(dir, kGpt);
  const auto outcome = run_program(dir,
                                   "train tiny.yaml --set run.dir=run --set monitor.every=5 "
                                   "--set monitor.rank=2 --set monitor.gradient_columns=4");
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  // 2 blocks of 16 -> 48, 16 -> 16, 16 -> 64, 64 -> 16 and the head, 16 -> 25, in f32.
  const std::int64_t inputs = 2 * (16 + 16 + 16 + 64) + 16;
  const json monitor = lines_of(dir, "run", "start").at(0).at("monitor");
  const json& modules = monitor.at("modules");
  REQUIRE(modules.size() == 9);
  CHECK(modules[0] == "blocks.0.attn.c_attn");
  CHECK(monitor.at("gradient_sketch_bytes") == 4 * 4 * inputs);
  const std::int64_t bytes = monitor.at("state_bytes");
  CHECK(outcome.out.find("monitor: 9 linears every 5 steps") != std::string::npos);
  CHECK(outcome.out.find("all modules together") != std::string::npos);
  CHECK(bytes > monitor.at("activation_sketch_bytes").get<std::int64_t>());

  const auto seen = lines_of(dir, "run", "monitor");
  REQUIRE(seen.size() == 3);
  CHECK(seen[2].at("step") == 11);
  double squares = 0;
  for (const char* metric : {"z_fro", "act_norm", "input_norm", "output_norm", "y_stable_rank",
                             "y_effective_rank", "row_spread", "grad_norm", "weight_norm",
                             "grad_sketch_norm", "grad_stable_rank", "signal_share"}) {
    CAPTURE(metric);
    REQUIRE(seen[2].at(metric).size() == 9);
    for (const json& value : seen[2].at(metric)) {
      CHECK(value.get<double>() > 0);
    }
  }
  for (const json& norm : seen[2].at("grad_norm")) {
    squares += norm.get<double>() * norm.get<double>();
  }
  const double whole = lines_of(dir, "run", "train").at(10).at("grad_norm");
  CHECK(squares < whole * whole);
  CHECK(squares > 0.1 * whole * whole);  // the rest is of embeddings and norms
  const json correlation = lines_of(dir, "run", "correlation").at(0);
  CHECK(correlation.at("observations") == 3);
  CHECK(correlation.at("z_fro").at("modules").size() == 9);

  REQUIRE(run_program(dir, "report run").code == 0);
  const std::string page = text_of(dir / "run/report.html");
  for (const char* part : {"<h2>Monitor</h2>", "Sketch norm z_fro", "Signal share", "blocks.*.",
                           "None went on.", "Correlation of proxies"}) {
    CAPTURE(part);
    CHECK(page.find(part) != std::string::npos);
  }
}

TEST_CASE("alarms reach the console, the log and the report", "[tools]") {
  const TemporaryDirectory dir;
  write_run(dir, kGpt);
  const auto outcome =
      run_program(dir,
                  "train tiny.yaml --set run.dir=run --set monitor.every=1 "
                  "--set monitor.alarms.vanishing=1e9 --set monitor.alarms.gradient_steps=3");
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(outcome.out.find("monitor: step 4: vanishing in blocks.0.attn.c_attn and 8 more: ") !=
        std::string::npos);
  const auto events = lines_of(dir, "run", "event");
  std::int64_t alarms = 0;
  for (const json& event : events) {
    if (event.at("event") == "alarm") {
      ++alarms;
      CHECK(event.at("alarm") == "vanishing");
      CHECK(event.at("modules").size() == 9);
      CHECK(event.at("step") == 4);
    }
  }
  CHECK(alarms == 1);
  REQUIRE(run_program(dir, "report run").code == 0);
  CHECK(text_of(dir / "run/report.html").find("vanishing blocks.0.attn.c_attn") !=
        std::string::npos);
}

TEST_CASE("norms of region Jacobians are among a monitor's numbers", "[tools]") {
  const TemporaryDirectory dir;
  write_run(dir, kRegions);
  train(dir, "--set run.dir=run --set monitor.every=5");
  for (const json& seen : lines_of(dir, "run", "monitor")) {
    CHECK(seen.at("jacobian/first_region") == 1);
    const json& local = seen.at("jacobian/local");
    const json& suffix = seen.at("jacobian/suffix");
    REQUIRE(local.size() == 2);  // regions 1 and 2: of 0 and 3 none is needed
    REQUIRE(suffix.size() == 2);
    CHECK(suffix[1].get<double>() == Approx(local[1].get<double>()));
    CHECK(suffix[0].get<double>() < 1.001 * local[0].get<double>() * local[1].get<double>());
  }
}

/// The last numbers under `key` of what the monitor has seen.
std::vector<double> last_numbers(const TemporaryDirectory& dir, const std::string& key) {
  return lines_of(dir, "run", "monitor").back().at(key).get<std::vector<double>>();
}

TEST_CASE("a monitor compares gradients with exact ones", "[tools]") {
  const TemporaryDirectory dir;
  write_run(dir, kGpt);
  const std::string watched = "--set monitor.every=4 --set monitor.exact=true --set run.dir=run ";
  train(dir, watched);
  for (const double cosine : last_numbers(dir, "exact_cosine")) {
    CHECK(cosine == Approx(1).epsilon(1e-6));
  }
  // Of two rows instead of 48 not much is left, and the run itself is as it is without a monitor.
  const std::string sketched =
      "--set residuals.preset=basis --set residuals.scope=all_linear --set "
      "residuals.sketch.rank=2 ";
  train(dir, "--overwrite " + watched + sketched);
  const std::string weights = "checkpoints/step-000012/model.safetensors";
  const std::string with_monitor = text_of(dir / ("run/" + weights));
  for (const double cosine : last_numbers(dir, "exact_cosine")) {
    CHECK(cosine < 0.9);
    CHECK(cosine > -0.5);
  }
  for (const double ratio : last_numbers(dir, "exact_ratio")) {
    CHECK(ratio > 0);
  }
  train(dir, "--set run.dir=alone " + sketched);
  CHECK(text_of(dir / ("alone/" + weights)) == with_monitor);
}

TEST_CASE("what a monitor cannot do is refused", "[tools]") {
  const TemporaryDirectory dir;
  write_run(dir, kGpt);
  const std::string at = "train tiny.yaml --set run.dir=run --set ";
  test::check_refused(dir, at + "monitor.every=0", 2,
                      "--set monitor.every: monitor.every is 0; expected a positive integer");
  test::check_refused(dir, at + "monitor.modules=nothing", 2,
                      "monitor.modules is \"nothing\"; expected a glob that matches a linear, as "
                      "blocks.0.attn.c_attn");
  const TemporaryDirectory other;
  write_run(other, kRegions);
  const auto refused = run_program(other, at + "monitor.every=1 --set parallel.region_ranks=2");
  CHECK(refused.code == 2);
  CHECK_THAT(refused.err, test::contains_text("monitor.every is 1; expected no section monitor "
                                              "where parallel.region_ranks is 2"));
}

}  // namespace
}  // namespace ghost
