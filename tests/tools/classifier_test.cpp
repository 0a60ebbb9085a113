#include <nlohmann/json.hpp>

#include "tests/data/image_files.h"
#include "tests/support/catch.h"
#include "tests/tools/program.h"

namespace ghost {
namespace {

using test::check_refused;
using test::run_program;
using test::TemporaryDirectory;
using test::text_of;

/// IDX images of ten patterns, one a class, each at another brightness.
std::string patterns(std::uint32_t count) {
  std::string bytes = big_endian(0x803) + big_endian(count) + big_endian(4) + big_endian(5);
  for (std::uint32_t image = 0; image < count; ++image) {
    for (std::uint32_t pixel = 0; pixel < 20; ++pixel) {
      const bool is_set = pixel % 10 == image % 10;
      bytes += static_cast<char>(is_set ? 100 + image * 37 % 100 : image * 11 % 40);
    }
  }
  return bytes;
}

void write_images(const TemporaryDirectory& dir) {
  std::filesystem::create_directories(dir / "datasets/p");
  dir.write("datasets/p/train-images-idx3-ubyte", patterns(50));
  dir.write("datasets/p/train-labels-idx1-ubyte", idx_labels(50));
  dir.write("datasets/p/test-images-idx3-ubyte", patterns(23));
  dir.write("datasets/p/test-labels-idx1-ubyte", idx_labels(23));
  dir.write("mlp.yaml",
            "data: {train: p/train-images-idx3-ubyte, val: p/test-images-idx3-ubyte}\n"
            "model: {type: mlp, widths: [16, 12], activation: relu}\n"
            "train: {epochs: 12, batch_size: 8, threads: 1}\n"
            "optimizer: {weight_decay: 0}\n"
            "schedule: {kind: constant, peak: 1e-2, warmup_steps: 0}\n"
            "eval: {every: 25, batches: 0}\n");
}

std::vector<nlohmann::json> lines_of(const std::filesystem::path& run, const std::string& kind) {
  std::vector<nlohmann::json> lines;
  std::istringstream in(text_of(run / "metrics.jsonl"));
  for (std::string line; std::getline(in, line);) {
    auto json = nlohmann::json::parse(line);
    if (json["kind"] == kind) {
      lines.push_back(std::move(json));
    }
  }
  return lines;
}

TEST_CASE("a classifier is trained, evaluated and reported", "[tools]") {
  const TemporaryDirectory dir;
  write_images(dir);
  const auto trained = run_program(dir, "train mlp.yaml");
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  CHECK_THAT(trained.out, test::contains_text("50 training images, 23 validation images"));
  CHECK_THAT(trained.out, test::contains_text("| accuracy 100.00% | 3 batches"));
  CHECK_THAT(trained.out, test::contains_text(" samples/s"));

  // 12 epochs of 50 in batches of 8.
  const auto steps = lines_of(dir / "runs/mlp", "train");
  REQUIRE(steps.size() == 75);
  CHECK(steps.back()["tokens"] == 600);
  const auto evals = lines_of(dir / "runs/mlp", "eval");
  REQUIRE(evals.size() == 3);
  CHECK(evals.back()["accuracy"] == 1.0);
  const auto start = lines_of(dir / "runs/mlp", "start");
  CHECK(start[0]["score"] == "accuracy");
  CHECK(start[0]["item"] == "sample");

  const auto evaluated = run_program(dir, "eval runs/mlp --json");
  REQUIRE(evaluated.code == 0);
  const auto json = nlohmann::json::parse(evaluated.out);
  CHECK(json["val_loss"] == evals.back()["val_loss"]);
  CHECK(json["accuracy"] == 1.0);
  CHECK(json["samples"] == 23);
  CHECK_THAT(run_program(dir, "eval runs/mlp --batches 1").out,
             test::contains_text("accuracy: 100.00%\nbatches: 1 of 8, 8 samples\n"));

  REQUIRE(run_program(dir, "report runs/mlp").code == 0);
  const std::string report = text_of(dir / "runs/mlp/report.html");
  CHECK_THAT(report, test::contains_text("accuracy"));
  CHECK_THAT(report, test::contains_text("samples per second"));
}

TEST_CASE("a classifier that is resumed ends as if it had not stopped", "[tools]") {
  const TemporaryDirectory dir;
  write_images(dir);
  const std::string whole = "train mlp.yaml --set run.dir=whole --set train.epochs=0 ";
  REQUIRE(run_program(dir, whole + "--set train.steps=20 --set eval.every=10").code == 0);
  const std::string half = "train mlp.yaml --set run.dir=half --set train.epochs=0 ";
  REQUIRE(run_program(dir, half + "--set train.steps=10 --set eval.every=10").code == 0);
  REQUIRE(run_program(dir, "train --resume half --set train.steps=20").code == 0);
  CHECK(text_of(dir / "whole/checkpoints/step-000020/model.safetensors") ==
        text_of(dir / "half/checkpoints/step-000020/model.safetensors"));
}

TEST_CASE("frozen matrices of a classifier stay as they start", "[tools]") {
  const TemporaryDirectory dir;
  write_images(dir);
  check_refused(dir, "train mlp.yaml --set optimizer.freeze=[layers.7.weight]", 2,
                "optimizer.freeze.0 \"layers.7.weight\" matches no parameter; the nearest is "
                "layers.*.weight");
  CHECK(run_program(dir, "train mlp.yaml --set optimizer.freeze=[layers.0.*]").code == 0);
}

TEST_CASE("inspect and bench know classifiers", "[tools]") {
  const TemporaryDirectory dir;
  write_images(dir);
  const auto inspected = run_program(dir, "inspect mlp.yaml");
  INFO(inspected.err);
  CHECK(inspected.code == 0);
  CHECK_THAT(inspected.out, test::contains_text("FLOPs a sample"));
  CHECK_THAT(inspected.out, test::contains_text("exact, recompute: cheap"));
  const auto bench = run_program(dir, "bench mlp.yaml --steps 2 --warmup 1");
  INFO(bench.err);
  CHECK(bench.code == 0);
  CHECK_THAT(bench.out, test::contains_text("samples a second"));
  CHECK(run_program(dir, "bench mlp.yaml --steps 1 --set residuals.preset=ghost").code == 0);
  check_refused(dir, "bench mlp.yaml --kernels", 2,
                "bench --kernels: model.type is mlp; expected a language model");
}

TEST_CASE("classifiers refuse what only text has", "[tools]") {
  const TemporaryDirectory dir;
  write_images(dir);
  check_refused(dir, "train mlp.yaml --set train.seq_len=8", 2,
                "--set train.seq_len: unknown key train.seq_len");
  check_refused(dir, "train mlp.yaml --set data.skip_windows=8", 2,
                "--set data.skip_windows: unknown key data.skip_windows");
  check_refused(dir, "train mlp.yaml --set data.sampler=stream", 2,
                "--set data.sampler: data.sampler is stream; expected shuffled or sequential for "
                "images");
  check_refused(dir, "train mlp.yaml --set data.std=[0]", 2,
                "--set data.std: data.std is \"[0]\"; expected positive numbers");
  check_refused(dir, "train mlp.yaml --set data.train=none", 1,
                "no data file matches datasets/none; `ghostgrad data` fetches and prepares data");
  REQUIRE(run_program(dir, "train mlp.yaml --set train.epochs=1").code == 0);
  check_refused(dir, "sample runs/mlp", 2,
                "runs/mlp/checkpoints/step-000007: the model is of type mlp; expected a language "
                "model");
  check_refused(dir, "eval runs/mlp --protocol all", 2,
                "runs/mlp/checkpoints/step-000007: the model is of type mlp; expected a language "
                "model");
}

TEST_CASE("a small convolutional network learns as well", "[tools]") {
  const TemporaryDirectory dir;
  write_images(dir);
  const auto trained = run_program(
      dir,
      "train mlp.yaml --set model.type=cnn --set model.channels=[4] --set train.epochs=30 "
      "--set model.pooling=average --set eval.every=0");
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  CHECK(lines_of(dir / "runs/mlp", "eval").back()["accuracy"].get<double>() > 0.9);
}

TEST_CASE("a PINN comes nearer to its solution", "[tools]") {
  const TemporaryDirectory dir;
  dir.write("pinn.yaml",
            "data: {boundary_points: 32, eval_grid: 21}\n"
            "model: {type: pinn, widths: [16, 16]}\n"
            "train: {steps: 300, batch_size: 64, threads: 1}\n"
            "optimizer: {weight_decay: 0, grad_clip: 0}\n"
            "schedule: {kind: constant, peak: 5e-3, warmup_steps: 0}\n"
            "eval: {every: 100}\n");
  const auto trained = run_program(dir, "train pinn.yaml");
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  CHECK_THAT(trained.out, test::contains_text("64 inner and 32 boundary points"));
  const auto evals = lines_of(dir / "runs/pinn", "eval");
  CHECK(evals.back()["l2_error"].get<double>() < 0.3 * evals.front()["l2_error"].get<double>());
  const auto evaluated = run_program(dir, "eval runs/pinn --json --batches 0");
  REQUIRE(evaluated.code == 0);
  CHECK(nlohmann::json::parse(evaluated.out)["l2_error"] == evals.back()["l2_error"]);
  CHECK(run_program(dir, "inspect pinn.yaml").code == 0);
  CHECK(run_program(dir, "bench pinn.yaml --steps 1").code == 0);
  CHECK(run_program(dir, "report runs/pinn").code == 0);
  check_refused(dir, "train pinn.yaml --set run.dir=x --set train.epochs=2", 2,
                "train.epochs is 2; expected 0 for data without epochs");
}

TEST_CASE("epochs of text are passes over its windows", "[tools]") {
  const TemporaryDirectory dir;
  test::prepare_tiny_text(dir);
  dir.write("tiny.yaml",
            "data: {train: tiny_char/train_*.bin, sampler: shuffled}\n"
            "model: {type: gpt, layers: 1, heads: 2, channels: 16, max_seq_len: 128}\n"
            "train: {epochs: 2, batch_size: 3, seq_len: 128, threads: 1}\n");
  REQUIRE(run_program(dir, "train tiny.yaml").code == 0);
  const auto steps = lines_of(dir / "runs/tiny", "train");
  const auto tokens = steps.back()["tokens"].get<std::int64_t>();
  const auto text = static_cast<std::int64_t>(text_of(dir / "tiny.txt").size());
  CHECK(tokens > 2 * text * 8 / 10);
  CHECK(tokens < 2 * text + 3 * 128);
}

TEST_CASE("MNIST's first steps lower its loss", "[tools][slow]") {
  const auto mnist = shared_data("mnist");
  if (!mnist) {
    return;
  }
  const TemporaryDirectory dir;
  const std::string config = "'" GHOST_SOURCE_DIR "/configs/ema/mnist/mlp_exact.yaml'";
  REQUIRE(run_program(dir, "data fetch mnist --from '" + mnist->string() + "'").code == 0);
  REQUIRE(run_program(dir, "train " + config +
                               " --set run.dir=m --set train.epochs=0 --set train.steps=200")
              .code == 0);
  CHECK(lines_of(dir / "m", "eval").back()["accuracy"].get<double>() > 0.9);
}

}  // namespace
}  // namespace ghost
