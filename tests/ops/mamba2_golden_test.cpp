#include <cmath>
#include <limits>
#include <map>

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "ops/arithmetic.h"
#include "ops/causal_conv1d.h"
#include "ops/gated_rms_norm.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/ssd.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/golden.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

struct Tolerances {
  DType dtype;
  double outputs;
  double gradients;
  Device device = {};
};

const Tolerances kTolerances[] = {{DType::kF64, 1e-10, 1e-9}, {DType::kF32, 1e-4, 1e-4}};

/// One case in one dtype: what the golden vectors call by name, and what the tape makes of it.
class GoldenRun {
 public:
  GoldenRun(const test::GoldenCase& golden, const Tolerances& tolerances,
            test::GoldenErrors& errors)
      : ctx(tolerances.device),
        golden_(golden),
        tolerances_(tolerances),
        errors_(errors),
        recording_(ctx, &tape_) {}

  std::int64_t size(const std::string& name) const { return golden_.size(name); }
  Tensor array(const std::string& name) const { return as(golden_.array(name)); }
  /// An input or a parameter, as a leaf.
  Tensor leaf(const std::string& name) { return watch(name, array(name)); }
  Tensor watch(const std::string& name, const Tensor& value) {
    return leaves_[name] = tape_.watch(as(value));
  }

  void check_output(const std::string& name, const Tensor& got) {
    errors_.check(label(name), got, golden_.array(name), tolerances_.outputs);
  }
  /// Pulls the golden cotangents of these outputs back to all leaves.
  void pull(const std::map<std::string, Tensor>& outputs) {
    Tensors values;
    Tensors cotangents;
    for (const auto& [name, output] : outputs) {
      if (golden_.has("cotangent/" + name)) {
        values.push_back(output);
        cotangents.push_back(array("cotangent/" + name).reshape(output.shape().with_first(1)));
      }
    }
    Tensors inputs;
    for (const auto& [name, value] : leaves_) {
      inputs.push_back(value);
    }
    const Tensors gradients = tape_.vjp(ctx, values, cotangents, inputs);
    std::size_t at = 0;
    for (const auto& [name, value] : leaves_) {
      gradients_[name] = gradients[at++];
    }
  }
  Tensor gradient(const std::string& leaf) const { return gradients_.at(leaf); }
  void check_gradient(const std::string& name, const Tensor& got) {
    errors_.check(label("grad/" + name), got, golden_.array("grad/" + name), tolerances_.gradients);
  }

  Context ctx;

 private:
  Tensor as(const Tensor& x) const {
    Tensor out(test::shared_allocator(Device{}), x.shape(), tolerances_.dtype,
               MemoryTag::kWorkspace);
    cast(out, x);
    return to_device(out, ctx.allocator(), MemoryTag::kWorkspace);
  }
  std::string label(const std::string& name) const {
    return fmt::format("{} {} {} {}", golden_.name(), tolerances_.device.name(),
                       dtype_name(tolerances_.dtype), name);
  }

  const test::GoldenCase& golden_;
  const Tolerances& tolerances_;
  test::GoldenErrors& errors_;
  Tape tape_;
  Context::Recording recording_;
  std::map<std::string, Tensor> leaves_;
  std::map<std::string, Tensor> gradients_;
};

/// Columns [begin, end) of the last dimension.
std::vector<double> columns(const Tensor& x, std::int64_t begin, std::int64_t end) {
  const auto values = test::values_of(x);
  std::vector<double> out;
  for (std::int64_t row = 0; row < x.numel() / x.dim(-1); ++row) {
    const auto first = values.begin() + row * x.dim(-1);
    out.insert(out.end(), first + begin, first + end);
  }
  return out;
}

/// x | B | C of every token in one row.
Tensor packed(const Tensors& parts) {
  std::vector<double> out;
  const std::int64_t rows = parts[0].dim(0) * parts[0].dim(1);
  std::int64_t width = 0;
  for (const Tensor& part : parts) {
    width += part.numel() / rows;
  }
  for (std::int64_t row = 0; row < rows; ++row) {
    for (const Tensor& part : parts) {
      const auto values = test::values_of(part);
      const std::int64_t count = part.numel() / rows;
      out.insert(out.end(), values.begin() + row * count, values.begin() + (row + 1) * count);
    }
  }
  return test::tensor_of({parts[0].dim(0), parts[0].dim(1), width}, out);
}

// A itself is golden; the op takes ln(-A), and dA = da_log / A.
void check_core(const test::GoldenCase& golden, GoldenRun& run) {
  const SsdShape shape{.heads = run.size("H"),
                       .head_dim = run.size("P"),
                       .groups = run.size("G"),
                       .state = run.size("N")};
  SsdConfig config{.shape = shape, .chunk = run.size("chunk")};
  const bool is_raw = golden.has("input/dt_raw");
  config.has_softplus = is_raw;
  if (is_raw) {
    config.dt_min = golden.manifest().at("sizes").at("dt_limit").at(0);
    config.dt_max = golden.manifest().at("sizes").at("dt_limit").at(1);
  }
  const auto a = test::values_of(golden.array("param/A"));
  std::vector<double> logs;
  for (const double rate : a) {
    logs.push_back(std::log(-rate));
  }
  const Tensor xbc = run.watch(
      "xbc", packed({golden.array("input/x"), golden.array("input/B"), golden.array("input/C")}));
  const std::string dt_name = is_raw ? "dt_raw" : "dt";
  const SsdResult result =
      ssd(run.ctx, xbc, run.leaf("input/" + dt_name),
          {.a_log = run.watch("a_log", test::tensor_of({shape.heads}, logs)),
           .d = run.leaf("param/D"),
           .dt_bias = is_raw ? run.leaf("param/dt_bias") : Tensor{}},
          config, golden.has("input/initial_state") ? run.leaf("input/initial_state") : Tensor{});
  run.check_output("output/y", result.y);
  run.check_output("output/final_state", result.final_state);

  run.pull({{"y", result.y}, {"final_state", result.final_state}});
  const Tensor dxbc = run.gradient("xbc");
  const std::int64_t inner = shape.inner();
  const std::int64_t middle = inner + shape.groups * shape.state;
  const auto check_columns = [&](const std::string& name, std::int64_t begin, std::int64_t end) {
    run.check_gradient(
        name, test::tensor_of(golden.array("grad/" + name).shape(), columns(dxbc, begin, end)));
  };
  check_columns("x", 0, inner);
  check_columns("B", inner, middle);
  check_columns("C", middle, shape.packed_width());
  run.check_gradient(dt_name, run.gradient("input/" + dt_name));
  auto da = test::values_of(run.gradient("a_log"));
  for (std::size_t h = 0; h < da.size(); ++h) {
    da[h] /= a[h];
  }
  run.check_gradient("A", test::tensor_of({shape.heads}, da));
  run.check_gradient("D", run.gradient("param/D"));
  if (is_raw) {
    run.check_gradient("dt_bias", run.gradient("param/dt_bias"));
  }
  if (golden.has("input/initial_state")) {
    run.check_gradient("initial_state", run.gradient("input/initial_state"));
  }
}

// y = u + Mixer(RMSNorm(u)) from the ops; in_proj as three linears, one for each use.
void check_block(const test::GoldenCase& golden, GoldenRun& run) {
  const SsdShape shape{.heads = run.size("H"),
                       .head_dim = run.size("P"),
                       .groups = run.size("G"),
                       .state = run.size("N")};
  Context& ctx = run.ctx;
  const double eps = golden.manifest().at("sizes").at("eps");
  const Tensor in_proj = golden.array("param/mixer.in_proj.weight");
  const std::int64_t z_end = shape.inner();
  const std::int64_t xbc_end = z_end + shape.packed_width();
  const Tensor z_weight = run.watch("z", in_proj.slice(0, z_end));
  const Tensor xbc_weight = run.watch("xbc", in_proj.slice(z_end, xbc_end));
  const Tensor dt_weight = run.watch("dt", in_proj.slice(xbc_end, in_proj.dim(0)));

  const Tensor u = run.leaf("input/u");
  const Tensor normed = rms_norm(ctx, u, run.leaf("param/norm.weight"), eps);
  run.check_output("intermediate/normed", normed);
  const Tensor raw_xbc = linear(ctx, normed, xbc_weight, {});
  const Tensor xbc = causal_conv1d(ctx, raw_xbc, run.leaf("param/mixer.conv1d.weight"),
                                   run.leaf("param/mixer.conv1d.bias"), ConvActivation::kSilu);
  run.check_output("intermediate/xBC_conv", xbc);
  const SsdResult core = ssd(ctx, xbc, linear(ctx, normed, dt_weight, {}),
                             {.a_log = run.leaf("param/mixer.A_log"),
                              .d = run.leaf("param/mixer.D"),
                              .dt_bias = run.leaf("param/mixer.dt_bias")},
                             {.shape = shape, .chunk = run.size("chunk")});
  run.check_output("intermediate/ssd_y", core.y);
  run.check_output("output/final_ssm_state", core.final_state);
  const Tensor gated = gated_rms_norm(ctx, core.y, linear(ctx, normed, z_weight, {}),
                                      run.leaf("param/mixer.norm.weight"),
                                      {.group_size = run.size("norm_group_size"), .eps = eps});
  run.check_output("intermediate/gated_norm", gated);
  const Tensor mixed = linear(ctx, gated, run.leaf("param/mixer.out_proj.weight"), {});
  run.check_output("intermediate/mixer_out", mixed);
  const Tensor y = add(ctx, u, mixed);
  run.check_output("output/y", y);
  // Golden conv states are [B, C, K], one column more than the op needs.
  const Tensor state = causal_conv1d_state(ctx, raw_xbc, run.size("d_conv") + 1);
  std::vector<double> by_channel;
  const auto by_token = test::values_of(state);
  for (std::int64_t b = 0; b < state.dim(0); ++b) {
    for (std::int64_t c = 0; c < state.dim(2); ++c) {
      for (std::int64_t t = 0; t < state.dim(1); ++t) {
        by_channel.push_back(
            by_token[static_cast<std::size_t>((b * state.dim(1) + t) * state.dim(2) + c)]);
      }
    }
  }
  run.check_output("output/final_conv_state",
                   test::tensor_of({state.dim(0), state.dim(2), state.dim(1)}, by_channel));

  run.pull({{"y", y}});
  run.check_gradient("u", run.gradient("input/u"));
  std::vector<double> din_proj;
  for (const char* part : {"z", "xbc", "dt"}) {
    const auto values = test::values_of(run.gradient(part));
    din_proj.insert(din_proj.end(), values.begin(), values.end());
  }
  run.check_gradient("mixer.in_proj.weight", test::tensor_of(in_proj.shape(), din_proj));
  for (const std::string& name : golden.names("param/")) {
    if (name != "mixer.in_proj.weight") {
      run.check_gradient(name, run.gradient("param/" + name));
    }
  }
}

TEST_CASE("the ops of Mamba-2 agree with the golden vectors", "[ops][golden][mamba2]") {
  test::GoldenErrors errors("mamba2");
  for (const test::GoldenCase& golden : test::golden_cases("mamba2")) {
    INFO(golden.name());
    for (const Tolerances& tolerances : kTolerances) {
      GoldenRun run(golden, tolerances, errors);
      if (golden.has("input/u")) {
        check_block(golden, run);
      } else {
        check_core(golden, run);
      }
    }
    for (const Device& device : test::cuda_devices()) {
      if (golden.has("input/u")) {
        continue;  // its other ops have tests of their own
      }
      for (const Tolerances& tolerances : {Tolerances{DType::kF32, 1e-4, 1e-4, device},
                                           Tolerances{DType::kBF16, 3e-2, 3e-2, device}}) {
        GoldenRun run(golden, tolerances, errors);
        check_core(golden, run);
      }
    }
  }
}

}  // namespace
}  // namespace ghost
