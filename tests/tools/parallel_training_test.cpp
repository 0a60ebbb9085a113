#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <sstream>

#include <nlohmann/json.hpp>

#include "engine/comm/nccl/nccl_communicator.h"
#include "engine/io/safetensors.h"
#include "tests/support/catch.h"
#include "tests/tools/program.h"

// These start mpirun themselves (ctest label mpi).
namespace ghost {
namespace {

using nlohmann::json;
using test::Outcome;
using test::run_program;
using test::TemporaryDirectory;
using test::text_of;

constexpr double kRounding = 1e-12;  // of sums in another order, f64

/// "mpirun ... -n"; empty, said on stderr, in a build without MPI.
std::string launcher() {
#ifdef GHOST_MPIRUN
  return GHOST_MPIRUN;
#else
  std::fputs("skipped: expected a build with MPI\n", stderr);
  return "";
#endif
}

/// Runs `ghostgrad ARGUMENTS` on so many ranks in the directory `dir`.
Outcome run_ranks_of_program(const TemporaryDirectory& dir, int ranks,
                             const std::string& arguments) {
  const std::string line = "cd '" + dir.path().string() + "' && " + launcher() + " " +
                           std::to_string(ranks) + " '" GHOST_BINARY "' " + arguments +
                           " > .stdout 2> .stderr < /dev/null";
  const int status = std::system(line.c_str());
  return {.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
          .out = text_of(dir / ".stdout"),
          .err = text_of(dir / ".stderr")};
}

/// The messages of all ranks that had one, each once.
std::vector<std::string> errors_of(const Outcome& outcome) {
  std::vector<std::string> errors;
  std::istringstream lines(outcome.err);
  for (std::string line; std::getline(lines, line);) {
    const std::string begin = "error: ";
    if (line.starts_with(begin) &&
        std::find(errors.begin(), errors.end(), line.substr(begin.size())) == errors.end()) {
      errors.push_back(line.substr(begin.size()));
    }
  }
  return errors;
}

/// The lines of kind monitor of a metrics.jsonl.
std::vector<json> observations_of(const std::filesystem::path& metrics) {
  std::vector<json> found;
  std::istringstream lines(text_of(metrics));
  for (std::string line; std::getline(lines, line);) {
    json object = json::parse(line);
    if (object.at("kind") == "monitor") {
      found.push_back(std::move(object));
    }
  }
  return found;
}

/// Four regions with a tied embedding, in f64, two sequences' batches a step.
void write_run(const TemporaryDirectory& dir) {
  test::prepare_tiny_text(dir, /*lines=*/400);
  const std::string rest =
      "train: {steps: 20, batch_size: 3, seq_len: 16, micro_steps: 2, threads: 1, dtype: f64}\n"
      "schedule: {kind: constant, peak: 3e-3, warmup_steps: 0}\n"
      "eval: {every: 10, batches: 3}\n"
      "checkpoint: {keep_last: 9}\n"
      "data: {train: tiny_char/train_*.bin, val: tiny_char/val_*.bin}\n";
  const std::string sizes = "layers: 4, heads: 2, channels: 16, max_seq_len: 16";
  dir.write("lbi.yaml", rest + "model: {type: gpt, " + sizes +
                            ", regions: {layers_per_region: 1, state_dim: 4, backward: scan}}\n");
  dir.write("gpt.yaml", rest + "model: {type: gpt, " + sizes + "}\n");
}

/// Tensors of the files KIND*.safetensors of a checkpoint, each in one of them.
std::map<std::string, std::vector<double>> tensors_of(const std::filesystem::path& checkpoint,
                                                      const std::string& kind) {
  std::map<std::string, std::vector<double>> tensors;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoint)) {
    if (!entry.path().filename().string().starts_with(kind)) {
      continue;
    }
    const SafetensorsFile file(entry.path());
    for (const TensorView& stored : file.tensors()) {
      REQUIRE(stored.dtype == "F64");
      REQUIRE(!tensors.contains(stored.name));
      std::vector<double>& values = tensors[stored.name];
      values.resize(stored.bytes.size() / sizeof(double));
      std::memcpy(values.data(), stored.bytes.data(), stored.bytes.size());
    }
  }
  return tensors;
}

/// Every number of two runs' checkpoints after the last step, over the largest of its tensor.
void check_same_state(const TemporaryDirectory& dir, const std::string& run,
                      const std::string& expected_run) {
  for (const std::string kind : {"model", "optimizer"}) {
    const std::string path = "/checkpoints/step-000020";
    const auto found = tensors_of(dir / (run + path), kind);
    const auto expected = tensors_of(dir / (expected_run + path), kind);
    REQUIRE(found.size() == expected.size());
    for (const auto& [name, values] : expected) {
      const auto& others = found.at(name);
      REQUIRE(others.size() == values.size());
      double difference = 0;
      double scale = 0;
      for (std::size_t i = 0; i < values.size(); ++i) {
        difference = std::max(difference, std::abs(others[i] - values[i]));
        scale = std::max(scale, std::abs(values[i]));
      }
      INFO(run << ": " << name);
      CHECK(difference <= kRounding * scale);
    }
  }
}

/// Numbers behind "KEY": in the lines of metrics.jsonl, in order.
std::vector<double> logged(const TemporaryDirectory& dir, const std::string& run,
                           const std::string& key) {
  std::vector<double> numbers;
  std::istringstream lines(text_of(dir / (run + "/metrics.jsonl")));
  for (std::string line; std::getline(lines, line);) {
    const std::string begin = "\"" + key + "\":";
    const auto at = line.find(begin);
    if (at != std::string::npos) {
      numbers.push_back(std::stod(line.substr(at + begin.size())));
    }
  }
  return numbers;
}

void check_same_log(const TemporaryDirectory& dir, const std::string& run,
                    const std::string& expected_run) {
  for (const std::string key : {"loss", "grad_norm", "val_loss", "tokens"}) {
    const auto found = logged(dir, run, key);
    const auto expected = logged(dir, expected_run, key);
    REQUIRE(expected.size() >= 2);
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      INFO(run << ": " << key << " " << i);
      CHECK(found[i] == Approx(expected[i]).epsilon(kRounding));
    }
  }
}

void train_alone(const TemporaryDirectory& dir, const std::string& arguments) {
  const Outcome outcome = run_program(dir, "train " + arguments);
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
}

void train_on_ranks(const TemporaryDirectory& dir, int ranks, const std::string& arguments) {
  const Outcome outcome = run_ranks_of_program(dir, ranks, "train " + arguments);
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
}

TEST_CASE("ranks that share regions train as one process", "[tools][mpirun]") {
  if (launcher().empty()) {
    return;
  }
  const TemporaryDirectory dir;
  write_run(dir);
  train_alone(dir, "lbi.yaml --set run.dir=one");
  train_on_ranks(dir, 2, "lbi.yaml --set run.dir=two --set parallel.region_ranks=2");
  check_same_state(dir, "two", "one");
  check_same_log(dir, "two", "one");
  // In each of two micro-steps a canvas of 3 x 16 x 16 f64 and a state of 3 x 4.
  const std::string log = text_of(dir / "two/metrics.jsonl");
  CHECK_THAT(log,
             test::contains_text("\"canvas\":{\"sent_bytes\":12288,\"received_bytes\":12288,"));
  CHECK_THAT(log, test::contains_text("\"state\":{\"sent_bytes\":192,\"received_bytes\":192,"));
  CHECK_THAT(log, test::contains_text("\"norm\":{\"sent_bytes\":16,\"received_bytes\":16,"));
}

TEST_CASE("a checkpoint of four ranks goes on with one and two", "[tools][mpirun]") {
  if (launcher().empty()) {
    return;
  }
  const TemporaryDirectory dir;
  write_run(dir);
  train_alone(dir, "lbi.yaml --set run.dir=one");
  train_on_ranks(dir, 4,
                 "lbi.yaml --set run.dir=four --set parallel.region_ranks=2 "
                 "--set train.micro_steps=1");
  check_same_state(dir, "four", "one");
  check_same_log(dir, "four", "one");
  for (const std::string file : {"model-00001-of-00002", "model-00002-of-00002",
                                 "optimizer-00001-of-00002", "optimizer-00002-of-00002"}) {
    CHECK(std::filesystem::exists(dir / ("four/checkpoints/step-000020/" + file + ".safetensors")));
  }
  std::filesystem::remove_all(dir / "four/checkpoints/step-000020");
  for (const std::string run : {"alone", "regions", "replicas", "deep"}) {
    std::filesystem::copy(dir / "four", dir / run, std::filesystem::copy_options::recursive);
  }
  const std::string twice = " --set train.micro_steps=2";
  train_alone(dir, "--resume alone --set parallel.region_ranks=1" + twice);
  train_on_ranks(dir, 2, "--resume regions" + twice);
  train_on_ranks(dir, 2, "--resume replicas --set parallel.region_ranks=1");
  train_on_ranks(dir, 4, "--resume deep --set parallel.region_ranks=4" + twice);
  for (const std::string run : {"alone", "regions", "replicas", "deep"}) {
    check_same_state(dir, run, "one");
    check_same_log(dir, run, "one");
  }
  CHECK(run_program(dir, "eval four").code == 0);
}

TEST_CASE("replicas of a model without regions train as one process", "[tools][mpirun]") {
  if (launcher().empty()) {
    return;
  }
  const TemporaryDirectory dir;
  write_run(dir);
  train_alone(dir, "gpt.yaml --set run.dir=one");
  train_on_ranks(dir, 2, "gpt.yaml --set run.dir=two --set train.micro_steps=1");
  check_same_state(dir, "two", "one");
  check_same_log(dir, "two", "one");
}

TEST_CASE("replicas that exchange factors train as by products", "[tools][mpirun]") {
  if (launcher().empty()) {
    return;
  }
  const TemporaryDirectory dir;
  write_run(dir);
  const std::string sketched =
      "gpt.yaml --set residuals.preset=basis --set residuals.sketch.rank=2 "
      "--set train.micro_steps=1 --set parallel.gradients=";
  train_on_ranks(dir, 2, sketched + "products --set run.dir=products");
  train_on_ranks(dir, 2, sketched + "factors --set run.dir=factors");
  check_same_state(dir, "factors", "products");
  check_same_log(dir, "factors", "products");
  CHECK(text_of(dir / "factors/metrics.jsonl").find("\"factors\":{") != std::string::npos);
  CHECK(text_of(dir / "products/metrics.jsonl").find("\"factors\":{") == std::string::npos);
}

TEST_CASE("ranks that do not fit are refused and leave nothing behind", "[tools][mpirun]") {
  if (launcher().empty()) {
    return;
  }
  const TemporaryDirectory dir;
  write_run(dir);
  const auto check = [&](int ranks, const std::string& arguments, const std::string& message) {
    INFO(arguments);
    const Outcome outcome =
        run_ranks_of_program(dir, ranks, "train " + arguments + " --set run.dir=refused");
    CHECK(outcome.code == 2);
    CHECK(errors_of(outcome) == std::vector<std::string>{message});
    CHECK_FALSE(std::filesystem::exists(dir / "refused"));
  };
  const std::string key = "--set parallel.region_ranks";
  check(4, "lbi.yaml " + key + "=3",
        "parallel.region_ranks is 3; expected a divisor of the 4 ranks of the job");
  check(5, "lbi.yaml " + key + "=5",
        key + ": parallel.region_ranks is 5; expected at most the 4 regions of the model");
  check(2, "gpt.yaml " + key + "=2",
        key + ": parallel.region_ranks is 2; expected 1 for a model without model.regions");
  check(2, "lbi.yaml --set model.regions.backward=tape " + key + "=2",
        "--set model.regions.backward: model.regions.backward is tape; expected scan, "
        "serial_adjoint or hybrid where parallel.region_ranks is 2");
  check(2, "gpt.yaml --set parallel.transport=nccl",
        std::string("parallel.transport is nccl; expected auto or mpi where ") +
            (kHasNccl ? "device is cpu" : "the build has no NCCL"));
  check(2,
        "lbi.yaml --set run.dir=refused : -n 1 '" GHOST_BINARY
        "' train lbi.yaml --set train.seed=3",
        "rank 2 has another config than rank 0; expected the same on all 3 ranks");
}

}  // namespace

// Without NCCL there is nothing that such ranks could talk through, on a CPU neither.
TEST_CASE("ranks of a launcher without MPI are refused on a CPU", "[tools]") {
  const TemporaryDirectory dir;
  write_run(dir);
  const std::string variables =
      "RANK=1 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29555 '" GHOST_BINARY "' ";
  const std::string line = "cd '" + dir.path().string() + "' && " + variables +
                           "train gpt.yaml > .stdout 2> .stderr < /dev/null";
  const int status = std::system(line.c_str());
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 2));
  CHECK(text_of(dir / ".stderr") ==
        std::string("error: RANK and WORLD_SIZE say that this is rank 1 of 2, which takes ") +
            (kHasNccl ? "device: cuda" : "a build with CUDA and NCCL") +
            "; expected mpirun, or one process\n");
}

TEST_CASE("a single process refuses region ranks", "[tools]") {
  const TemporaryDirectory dir;
  write_run(dir);
  test::check_refused(dir, "train lbi.yaml --set parallel.region_ranks=2", 2,
                      "parallel.region_ranks is 2; expected a divisor of the 1 ranks of the job");
  test::check_refused(dir, "train lbi.yaml --set parallel.region_ranks=0", 2,
                      "--set parallel.region_ranks: parallel.region_ranks is 0; expected a "
                      "positive integer");
  test::check_refused(dir, "train lbi.yaml --set parallel.timeout_s=0", 2,
                      "--set parallel.timeout_s: parallel.timeout_s is 0; expected a positive "
                      "number");
  test::check_refused(dir,
                      "train lbi.yaml --set parallel.region_ranks=2 "
                      "--set residuals.sketch.wiener=true",
                      2,
                      "--set residuals.sketch.wiener: residuals.sketch.wiener is true; expected "
                      "false where parallel.region_ranks is 2");
}

// Rows of a step are numbered the same, so the probes are the same too.
TEST_CASE("replicas watch the batch that one process would", "[tools][mpirun]") {
  if (launcher().empty()) {
    return;
  }
  const TemporaryDirectory dir;
  write_run(dir);
  const std::string options =
      "train gpt.yaml --set train.steps=6 --set monitor.every=2 --set monitor.rank=2";
  const auto alone = run_program(dir, options + " --set run.dir=alone --set train.batch_size=6");
  INFO(alone.err);
  REQUIRE(alone.code == 0);
  const auto micro = run_program(dir, options + " --set run.dir=micro --set train.micro_steps=4");
  REQUIRE(micro.code == 0);
  const auto replicas = run_ranks_of_program(dir, 2, options + " --set run.dir=replicas");
  INFO(replicas.err);
  REQUIRE(replicas.code == 0);
  const auto expected = observations_of(dir / "alone/metrics.jsonl");
  REQUIRE(expected.size() == 3);
  for (const char* run : {"micro", "replicas"}) {
    const auto got = observations_of(dir / (std::string(run) + "/metrics.jsonl"));
    REQUIRE(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      for (const auto& [metric, values] : expected[i].items()) {
        if (!values.is_array()) {
          continue;
        }
        INFO(run << ", observation " << i << ", " << metric);
        const json& found = got[i].at(metric);
        REQUIRE(found.size() == values.size());
        for (std::size_t module = 0; module < values.size(); ++module) {
          REQUIRE(found[module].is_number() == values[module].is_number());
          if (values[module].is_number()) {  // written with six digits
            CHECK(found[module].get<double>() ==
                  Approx(values[module].get<double>()).epsilon(2e-5));
          }
        }
      }
    }
  }
}

}  // namespace ghost
