#include "tools/eval/protocol.h"

#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tests/tools/program.h"
#include "tools/eval/loss_sums.h"
#include "tools/eval/protocol_text.h"

namespace ghost {
namespace {

using nlohmann::json;
using test::check_refused;
using test::contains_text;
using test::run_program;
using test::text_of;
using TestDir = test::TemporaryDirectory;

constexpr double kRounding = 1e-6;  // losses of batches are f32 sums

/// Trains three tiny layers on a little text: runs/NAME. `regions` is the model's section.
void train(const TestDir& dir, const std::string& name, const std::string& regions,
           const std::string& dtype = "f32") {
  if (!std::filesystem::exists(dir / "datasets/tiny_char")) {
    test::prepare_tiny_text(dir);
  }
  dir.write(name + ".yaml",
            "data: {train: tiny_char/train_*.bin, val: tiny_char/val_*.bin}\n"
            "model: {type: gpt, layers: 3, heads: 2, channels: 16, max_seq_len: 8" +
                regions +
                "}\n"
                "train: {steps: 4, batch_size: 3, seq_len: 8, threads: 1, dtype: " +
                dtype +
                "}\n"
                "schedule: {peak: 1.0e-2, warmup_steps: 0}\n"
                "eval: {every: 4, batches: 4}\n");
  const auto trained = run_program(dir, "train " + name + ".yaml");
  INFO(trained.err);
  REQUIRE(trained.code == 0);
}

std::string regions_of(const std::string& variant) {
  return ", regions: {layers_per_region: 1, state_dim: 4, variant: " + variant + "}";
}

json protocol_of(const TestDir& dir, const std::string& arguments) {
  const auto outcome = run_program(dir, "eval " + arguments + " --json");
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  return json::parse(outcome.out);
}

TEST_CASE("the paper's variant is scored with and without the future", "[tools]") {
  const TestDir dir;
  train(dir, "dense", "");
  train(dir, "paper", regions_of("paper"));
  const json found =
      protocol_of(dir, "runs/paper --protocol all --refresh 4 --baseline runs/dense");
  CHECK(found.at("sees_future") == true);
  CHECK(found.at("variant") == "paper");
  CHECK(found.at("windows") == 12);
  CHECK(found.at("baseline") == "runs/dense/checkpoints/step-000004");
  const json& scores = found.at("scores");
  CHECK(scores.at("tf").at("label") == "teacher-forced, sees future");
  CHECK(scores.at("last").at("label") == "last position of full windows, sees no future");
  CHECK(scores.at("ar").at("label") == "autoregressive, new states every 4 tokens");
  const json plain = protocol_of(dir, "runs/paper");
  CHECK(plain.at("loss_label") == "teacher-forced, sees future");
  CHECK(scores.at("tf").at("nats").get<double>() ==
        Approx(plain.at("val_loss").get<double>()).epsilon(kRounding));
  CHECK(scores.at("tf").at("tokens") == 12 * 8);
  CHECK(scores.at("last").at("tokens") == 12);
  CHECK(scores.at("ar").at("tokens") == 12 * 5);
  CHECK(found.at("flip").at("largest").get<double>() > 0);
  CHECK(found.at("flip").at("position") < found.at("flip").at("changed"));

  // The dense run on the same tokens, and pairs of windows.
  const json dense = protocol_of(dir, "runs/dense --protocol tf,last,pos,flip");
  CHECK(dense.at("flip").at("largest") == 0.0);
  CHECK(dense.at("sees_future") == false);
  for (const char* name : {"tf", "last"}) {
    const json& score = scores.at(name);
    CHECK(score.at("baseline").at("nats") == dense.at("scores").at(name).at("nats"));
    CHECK(score.at("difference").at("nats").get<double>() ==
          Approx(score.at("nats").get<double>() - score.at("baseline").at("nats").get<double>())
              .margin(1e-12));
  }

  // By position: means of tf and ar, and what the gap is.
  const json& pos = found.at("pos");
  CHECK(pos.at("baseline") == dense.at("pos").at("tf"));
  double gap = 0;
  for (std::size_t t = 0; t < 8; ++t) {
    CHECK(pos.at("ar").at(t).is_null() == (t < 3));
    if (t >= 3) {
      gap += (pos.at("ar").at(t).get<double>() - pos.at("tf").at(t).get<double>()) / 5;
    }
  }
  CHECK(scores.at("gap").at("nats").get<double>() == Approx(gap).margin(1e-12));
  CHECK(pos.at("tf").at(7) == scores.at("last").at("nats"));
  CHECK(pos.at("tf").at(7).get<double>() ==  // states of all of the window
        Approx(pos.at("ar").at(7).get<double>()).epsilon(kRounding));
}

TEST_CASE("no later token reaches a scored logit of a causal variant", "[tools]") {
  const TestDir dir;
  for (const char* variant : {"prefix_lm, prefix: 4", "anchor, anchor: 3", "chunked, chunk: 2",
                              "multi_anchor, chunk: 2"}) {
    INFO(variant);
    train(dir, "causal", regions_of(variant), "f64");
    const json found = protocol_of(dir, "runs/causal --protocol all --refresh 2");
    CHECK(found.at("dtype") == "f64");
    CHECK(found.at("flip").at("largest") == 0.0);
    CHECK(found.at("flip").at("tokens") >= 4);
    CHECK(found.at("sees_future") == false);
    CHECK(found.at("scores").at("gap").at("nats") == 0.0);
    const json plain = protocol_of(dir, "runs/causal");
    CHECK_FALSE(plain.contains("loss_label"));
    CHECK(found.at("scores").at("tf").at("nats").get<double>() ==
          Approx(plain.at("val_loss").get<double>()).epsilon(1e-12));
    std::filesystem::remove_all(dir / "runs/causal");
  }
  train(dir, "paper", regions_of("paper"), "f64");
  CHECK(protocol_of(dir, "runs/paper --protocol flip").at("flip").at("largest").get<double>() >
        1e-6);
  const json silent =
      protocol_of(dir, "runs/paper --protocol tf,flip --set model.regions.ablation=zero_all");
  CHECK(silent.at("flip").at("largest") == 0.0);
  CHECK(silent.at("scores").at("tf").at("label") == "teacher-forced, sees no future");
}

TEST_CASE("scores are lines for people, a file and a section of the report", "[tools]") {
  const TestDir dir;
  train(dir, "dense", "");
  train(dir, "paper", regions_of("paper"));
  const auto outcome =
      run_program(dir, "eval runs/paper --protocol all --refresh 2 --baseline runs/dense");
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(
      outcome.out.starts_with("weights: runs/paper/checkpoints/step-000004\nregions: paper\n"
                              "baseline: runs/dense/checkpoints/step-000004\n"
                              "windows: 12 of 8 tokens\nscore      nats"));
  CHECK_THAT(outcome.out, contains_text("  teacher-forced, sees future\nlast"));
  CHECK_THAT(outcome.out, contains_text("\nflip  "));
  CHECK_THAT(outcome.out, contains_text("\npositions          tf        ar  baseline\n0   "));
  CHECK_THAT(outcome.out, contains_text("\n4-6 "));

  const ProtocolResult read = read_protocol(dir / "runs/paper/protocol.json");
  CHECK(to_json(read).dump() + "\n" == text_of(dir / "runs/paper/protocol.json"));
  CHECK(protocol_text(read) == outcome.out);

  REQUIRE(run_program(dir, "report runs/paper").code == 0);
  const std::string html = text_of(dir / "runs/paper/report.html");
  CHECK_THAT(html, contains_text("<h2>Evaluation protocol</h2>"));
  CHECK_THAT(html, contains_text("<td>teacher-forced, sees future</td>"));
  CHECK_THAT(html, contains_text("Largest change of a logit by a later token: "));
  CHECK_THAT(html, contains_text("<figcaption>Loss by position"));
  CHECK_THAT(html, contains_text("<small>teacher-forced, sees future; at step 4, the last"));
  REQUIRE(run_program(dir, "report runs/dense runs/paper --out both.html").code == 0);
  CHECK_THAT(text_of(dir / "both.html"), contains_text("ar, paper"));
  REQUIRE(run_program(dir, "report runs/dense").code == 0);
  CHECK(text_of(dir / "runs/dense/report.html").find("Evaluation protocol") == std::string::npos);

  REQUIRE(run_program(dir, "train paper.yaml --overwrite").code == 0);
  CHECK_FALSE(std::filesystem::exists(dir / "runs/paper/protocol.json"));
  dir.write("runs/paper/protocol.json", "{\"weights\": 3}");
  const auto refused = run_program(dir, "report runs/paper");
  CHECK(refused.code == 1);
  CHECK(
      refused.err.starts_with("error: runs/paper/protocol.json: not what `ghostgrad eval "
                              "--protocol` writes ("));
}

TEST_CASE("tables of sweeps say what the loss of the paper's variant is", "[tools]") {
  const TestDir dir;
  train(dir, "dense", "");
  dir.write("a.sweep.yaml",
            "base: dense.yaml\nout: out\nruns:\n"
            "  regions: {model.regions: {layers_per_region: 1, state_dim: 4}}\n");
  const auto outcome = run_program(dir, "sweep a.sweep.yaml");
  INFO(outcome.err << outcome.out);
  REQUIRE(outcome.code == 0);
  CHECK_THAT(text_of(dir / "out/results.md"),
             contains_text("| regions (teacher-forced, sees future) |"));
}

TEST_CASE("the protocol refuses what it cannot score", "[tools]") {
  const TestDir dir;
  train(dir, "dense", "");
  train(dir, "anchor", regions_of("anchor, anchor: 3"));
  train(dir, "paper", regions_of("paper"));
  train(dir, "other", ", vocab_size: 40");
  const std::string dense = "runs/dense/checkpoints/step-000004";
  const auto refused = [&](const std::string& arguments, const std::string& message) {
    check_refused(dir, "eval " + arguments, 2, message);
  };
  refused("runs/dense --protocol tf,loss",
          "--protocol: \"loss\" is no score; expected all, or some of tf,last,ar,pos,flip,gap");
  refused("runs/dense --protocol ','",
          "--protocol: \"\" is no score; expected all, or some of tf,last,ar,pos,flip,gap");
  for (const char* part : {"ar", "gap"}) {
    refused(fmt::format("runs/dense --protocol {}", part),
            fmt::format("--protocol {}: {} has no regions, so its tf is autoregressive; expected "
                        "a model with model.regions",
                        part, dense));
  }
  refused("runs/paper --protocol ar --refresh 9",
          "--refresh is 9; expected 1 to the 8 tokens of a window");
  refused("runs/paper --protocol ar --refresh -1",
          "--refresh is -1; expected 1 to the 8 tokens of a window");
  refused("runs/paper --protocol flip --set train.seq_len=1",
          "--protocol flip: no token of the 1 of a window is behind a scored position; expected a "
          "longer window");
  refused("runs/anchor --protocol tf --set train.seq_len=3",
          "model.regions.anchor is 3; expected a position within the 3 tokens of a sequence");
  refused("runs/dense --protocol tf --baseline runs/paper",
          "--baseline runs/paper/checkpoints/step-000004: its paper regions see the future of "
          "what is scored; expected a causal model");
  refused("runs/dense --protocol tf --baseline runs/other",
          "--baseline runs/other/checkpoints/step-000004: 40 tokens in its vocabulary; expected "
          "21, as " +
              dense);
  refused("runs/dense --refresh 2", "--baseline and --refresh go with --protocol");
  refused("runs/dense --protocol tf --baseline runs/none",
          "runs/none: no such run directory or checkpoint");
}

TEST_CASE("standard errors are those of means of windows", "[tools]") {
  LossSums losses(3);
  losses.add({1, 2, 3, 5, 6, 7});
  losses.add({9, 1, 2});
  CHECK(losses.windows() == 3);
  CHECK(losses.window_means(1) == std::vector<double>{2.5, 6.5, 1.5});
  CHECK(std::isnan(losses.position_means(1)[0]));
  CHECK(losses.position_means(1)[2] == 4);
  const Estimate found = estimate(losses.window_means(1));
  CHECK(found.mean == 3.5);
  CHECK(found.standard_error == Approx(std::sqrt(7.0 / 3)));  // variance (1 + 9 + 4) / 2
  CHECK(std::isnan(estimate({1}).standard_error));
}

// The paper's variant reads the answers from its states: better than ln 8, which no predictor is.
TEST_CASE("only states of the future learn uniform tokens", "[tools][slow]") {
  const TestDir dir;
  REQUIRE(run_program(dir, "data uniform --tokens 200000 --val-tokens 20000").code == 0);
  const auto scored = [&](const std::string& name, const std::string& options) {
    const auto trained =
        run_program(dir, "train " GHOST_SOURCE_DIR
                         "/configs/lbi/uniform_paper.yaml --set train.steps=400 "
                         "--set eval.every=0 --set eval.batches=20 --set run.dir=runs/" +
                             name + options);
    INFO(trained.err);
    REQUIRE(trained.code == 0);
    return protocol_of(dir, "runs/" + name + " --protocol all --refresh 1").at("scores");
  };
  const double bound = std::log(8.0);
  const json paper = scored("paper", "");
  CHECK(paper.at("tf").at("nats").get<double>() < bound - 0.3);
  CHECK(paper.at("last").at("nats").get<double>() > bound - 0.02);
  CHECK(paper.at("ar").at("nats").get<double>() > bound + 0.3);
  const json no_state = scored("no_state", " --set model.regions.ablation=zero_all");
  CHECK(std::abs(no_state.at("tf").at("nats").get<double>() - bound) < 0.02);
  const json anchor =
      scored("anchor", " --set model.regions.variant=anchor --set model.regions.anchor=2");
  CHECK(std::abs(anchor.at("tf").at("nats").get<double>() - bound) < 0.02);
}

}  // namespace
}  // namespace ghost
