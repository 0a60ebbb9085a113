#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/tools/program.h"

namespace ghost {
namespace {

using nlohmann::json;
using test::run_program;
using test::TemporaryDirectory;
using test::text_of;

json bench(const TemporaryDirectory& dir, const std::string& arguments) {
  const auto outcome = run_program(dir, "bench --json " + arguments);
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  return json::parse(outcome.out);
}

void write_small(const TemporaryDirectory& dir) {
  dir.write("small.yaml",
            "model: {layers: 1, heads: 2, channels: 32, max_seq_len: 32, vocab_size: 64}\n"
            "train: {batch_size: 2, seq_len: 32}\n");
}

TEST_CASE("bench measures steps, products and bytes", "[tools]") {
  const TemporaryDirectory dir;
  write_small(dir);
  const json facts = bench(dir, "small.yaml --steps 3 --warmup 1");
  CHECK(facts.at("ms_per_step").get<double>() > 0);
  CHECK(facts.at("gemm_flops_per_s").get<double>() > 0);
  CHECK(facts.at("steady_system_allocations").get<int>() == 0);
  CHECK(facts.at("tokens_per_s").get<double>() ==
        Approx(64 / (facts.at("ms_per_step").get<double>() * 1e-3)));
  CHECK(facts.at("share_of_gemm").get<double>() ==
        Approx(facts.at("flops_per_s").get<double>() / facts.at("gemm_flops_per_s").get<double>()));
}

struct Profile {
  double step_ms = 0;
  double sum_ms = 0;  // of all work and the rest
  std::set<std::string> work;
};

/// Runs a profile and checks each of its lines.
Profile profile(const TemporaryDirectory& dir, const std::string& arguments) {
  const json facts = bench(dir, arguments + " --profile").at("profile");
  CHECK(facts.at("copy_bytes_per_s").get<double>() > 0);
  CHECK(facts.at("gemm_flops_per_s").get<double>() > 0);
  CHECK(facts.at("rest_ms").get<double>() >= 0);
  Profile out{.step_ms = facts.at("ms_per_step").get<double>(),
              .sum_ms = facts.at("rest_ms").get<double>()};
  for (const json& line : facts.at("work")) {
    const auto name = line.at("name").get<std::string>();
    const auto pass = line.at("pass").get<std::string>();
    INFO(name << ' ' << pass);
    CHECK(line.at("calls").get<int>() > 0);
    CHECK(line.at("ms").get<double>() > 0);
    const bool moves_nothing = pass.empty() || (name == "add" && pass == "backward");
    CHECK((line.at("bytes").get<double>() > 0) == !moves_nothing);
    CHECK((line.at("gemm_ms").get<double>() > 0) == (line.at("flops").get<double>() > 0));
    CHECK((line.at("flops").get<double>() > 0) == (name.starts_with("linear")));
    out.sum_ms += line.at("ms").get<double>();
    out.work.insert(pass.empty() ? name : name + ' ' + pass);
  }
  return out;
}

TEST_CASE("bench profiles the ops and parts of a step", "[tools]") {
  const TemporaryDirectory dir;
  write_small(dir);
  const Profile exact = profile(dir, "small.yaml --steps 2 --warmup 1");
  CHECK(exact.sum_ms == Approx(exact.step_ms));
  std::set<std::string> expected{"batch", "gradient norm", "optimizer"};
  for (const char* op : {"embedding", "position_embedding", "layer_norm", "linear", "attention",
                         "gelu", "add", "linear_cross_entropy"}) {
    expected.insert(op + std::string(" forward"));
    expected.insert(op + std::string(" backward"));
  }
  CHECK(exact.work == expected);
  // What a block runs again inside of its own backward pass is not counted twice.
  const Profile again =
      profile(dir, "small.yaml --steps 2 --set residuals.recompute=block --set model.layers=2");
  CHECK(again.work.contains("checkpoint backward"));
  CHECK(again.sum_ms == Approx(again.step_ms));
}

TEST_CASE("bench measures the passes of sketches where there are any", "[tools]") {
  const TemporaryDirectory dir;
  write_small(dir);
  CHECK_FALSE(bench(dir, "small.yaml --steps 1").contains("sketch"));
  const json facts = bench(dir,
                           "small.yaml --steps 1 --set residuals.preset=basis "
                           "--set residuals.sketch.rank=8 --set residuals.sketch.center=nearest");
  CHECK(facts.at("sketch").at("rank").get<int>() == 8);
  CHECK(facts.at("sketch").at("columns").get<int>() == 128);
  for (const char* rate : {"read", "input", "gradient", "groups"}) {
    CHECK(facts.at("sketch").at(std::string(rate) + "_bytes_per_s").get<double>() > 0);
  }
}

TEST_CASE("bench measures operations alone", "[tools]") {
  const TemporaryDirectory dir;
  write_small(dir);
  const json facts = bench(dir, "small.yaml --kernels");
  CHECK(facts.at("copy_bytes_per_s").get<double>() > 0);
  std::set<std::string> names;
  for (const json& kernel : facts.at("kernels")) {
    CHECK(kernel.at("seconds").get<double>() > 0);
    names.insert(kernel.at("name").get<std::string>());
  }
  for (const char* name : {"layer_norm backward", "attention", "head and loss backward",
                           "optimizer", "sketch of x", "unpack int4"}) {
    INFO(name);
    CHECK(names.contains(name));
  }
}

TEST_CASE("bench measures the operations and steps of mixers", "[tools]") {
  const TemporaryDirectory dir;
  dir.write("hybrid.yaml",
            "model: {type: hybrid, layer_types: mamba2 + mamba3 + attention, layers: 3,\n"
            "        channels: 16, vocab_size: 64, mamba2: {state: 8, head_dim: 8},\n"
            "        mamba3: {state: 8, head_dim: 8, mimo_rank: 2},\n"
            "        attention: {heads: 2, conv: 3, mlp: 24}}\n"
            "train: {batch_size: 1, seq_len: 16}\n");
  std::set<std::string> names;
  const json rates = bench(dir, "hybrid.yaml --kernels");
  for (const json& kernel : rates.at("kernels")) {
    CHECK(kernel.at("seconds").get<double>() > 0);
    names.insert(kernel.at("name").get<std::string>());
  }
  for (const char* name :
       {"mamba2 core backward", "mamba2 conv1d", "mamba3 core", "mamba3 gate",
        "attention conv1d backward", "attention swiglu", "rms_norm", "optimizer"}) {
    INFO(name);
    CHECK(names.contains(name));
  }
  const json facts = bench(dir, "hybrid.yaml --steps 2");
  const double outside = facts.at("outside_gemms").get<double>();
  CHECK(outside > 0);
  CHECK(outside < 1);
}

TEST_CASE("bench prints rows of a table", "[tools]") {
  const TemporaryDirectory dir;
  write_small(dir);
  const auto outcome =
      run_program(dir, "bench small.yaml --steps 1 --append-json rows.json --row \"f32, exact\"");
  CHECK(outcome.code == 0);
  CHECK(outcome.out.starts_with("| f32, exact | "));
  CHECK(std::count(outcome.out.begin(), outcome.out.end(), '|') == 7);
  const json line = json::parse(text_of(dir.path() / "rows.json"));
  CHECK(line.at("name") == "f32, exact");
  CHECK(line.at("ms_per_step").get<double>() > 0);
}

TEST_CASE("bench needs a vocabulary", "[tools]") {
  const TemporaryDirectory dir;
  dir.write("open.yaml", "model: {channels: 24, heads: 2}\n");
  test::check_refused(dir, "bench open.yaml", 2,
                      "model.vocab_size is 0 and the data has no tokenizer.json; expected one");
}

// The meter counts tensors only; the process also holds its code, the library's packing buffers
// and the allocator's cut-offs.
TEST_CASE("the meter accounts for the memory of the process at 124M parameters", "[slow]") {
  const TemporaryDirectory dir;
  const json facts = bench(dir, GHOST_SOURCE_DIR
                           "/configs/gpt/gpt2_124m_fineweb.yaml --steps 1 --warmup 1 "
                           "--set train.batch_size=1 --set train.micro_steps=1");
  const double meter = facts.at("meter_peak_bytes").get<double>();
  const double process = facts.at("process_peak_bytes").get<double>();
  INFO("meter " << meter / (1 << 20) << " MiB, process " << process / (1 << 20) << " MiB");
  CHECK(meter <= process);
  CHECK(meter >= 0.9 * process);
}

TEST_CASE("bench measures a region and its Jacobian", "[tools]") {
  const TemporaryDirectory dir;
  write_small(dir);
  dir.write("regions.yaml",
            "base: small.yaml\n"
            "model: {layers: 3, regions: {layers_per_region: 1, state_dim: 6}}\n");
  const json facts = bench(dir, "regions.yaml --regions");
  CHECK(facts.at("regions") == 3);
  CHECK(facts.at("columns") == 6);
  std::vector<int> columns;
  for (const json& pullback : facts.at("pullbacks")) {
    columns.push_back(pullback.at("columns_at_once").get<int>());
    CHECK(pullback.at("gamma").get<double>() ==
          Approx(pullback.at("seconds").get<double>() /
                 (6 * facts.at("input_backward").get<double>())));
  }
  CHECK(columns == std::vector<int>{1, 2, 4, 6});
  CHECK(facts.at("joined").get<double>() >= facts.at("serial_adjoint").get<double>());
  test::check_refused(dir, "bench small.yaml --regions", 2,
                      "small.yaml: --regions measures the regions of a model; expected "
                      "model.regions");
}

}  // namespace
}  // namespace ghost
