#include <cmath>
#include <iostream>
#include <numbers>

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "ops/mamba3_core.h"
#include "ops/mamba3_decay.h"
#include "ops/mamba3_gate.h"
#include "ops/rms_norm.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/golden.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

/// A golden array, its place among the inputs, and the shape that the ops want.
struct Leaf {
  std::string name;
  std::string array;
  Tensor* to;
  Shape shape;
};

struct Leaves {
  Mamba3CoreInput in;
  Tensor z;

  // Golden vectors of the single-input core leave out the axis of ranks.
  std::vector<Leaf> list(const test::GoldenCase& golden) {
    const auto size = [&](const char* name) { return golden.size(name); };
    const std::int64_t b = size("B");
    const std::int64_t t = size("T");
    const std::int64_t h = size("H");
    const std::int64_t n = size("N");
    const Shape qk{b, t, 1, size("G"), n};
    const Shape value{b, t, h, size("P")};
    const Shape scalar{b, t, h};
    std::vector<Leaf> out{{"q", "input/q", &in.q, qk},
                          {"k", "input/k", &in.k, qk},
                          {"v", "input/v", &in.v, value},
                          {"a", "input/a", &in.a, scalar},
                          {"dt", "input/dt", &in.dt, scalar},
                          {"trap", "input/trap", &in.trap, scalar},
                          {"angle", "input/angle", &in.angle, {b, t, size("S")}},
                          {"z", "input/z", &z, value},
                          {"q_bias", "param/q_bias", &in.q_bias, {h, 1, n}},
                          {"k_bias", "param/k_bias", &in.k_bias, {h, 1, n}},
                          {"D", "param/D", &in.d, {h}}};
    if (golden.has("input/ssm_state")) {
      out.push_back({"angle_state", "input/angle_state", &in.initial.angle, {b, h, size("S")}});
      out.push_back({"ssm_state", "input/ssm_state", &in.initial.ssm, {b, h, size("P"), n}});
      out.push_back({"k_state", "input/k_state", &in.initial.k, {b, 1, h, n}});
      out.push_back({"v_state", "input/v_state", &in.initial.v, {b, h, size("P")}});
    }
    return out;
  }
};

Tensor as(const Tensor& x, const Shape& shape, DType dtype) {
  Tensor out(x.storage()->shared_allocator(), x.shape(), dtype, MemoryTag::kWorkspace);
  cast(out, x);
  return out.reshape(shape);
}

/// Where a case runs, and how well it has to agree.
struct Run {
  DType dtype;
  double outputs;
  double gradients;
  Device device = {};
};

// Columns [begin, begin + width) of the last dimension.
Tensor columns(const Tensor& x, std::int64_t begin, std::int64_t width) {
  const auto values = test::values_of(x);
  std::vector<double> out;
  for (std::int64_t row = 0; row < x.numel() / x.dim(-1); ++row) {
    const auto at = values.begin() + row * x.dim(-1) + begin;
    out.insert(out.end(), at, at + width);
  }
  return test::tensor_of(x.shape().with_last(width), out);
}

// Angles moved by whole turns next to those expected: 0 and 2 pi are the same.
Tensor next_to(const Tensor& angles, const Tensor& expected) {
  constexpr double kTurn = 2 * std::numbers::pi;
  auto values = test::values_of(angles);
  const auto goals = test::values_of(expected);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] += kTurn * std::round((goals[i] - values[i]) / kTurn);
  }
  return test::tensor_of(angles.shape(), values);
}

void check_core(const test::GoldenCase& golden, const Run& run, test::GoldenErrors& errors) {
  const auto label = [&](const std::string& array) {
    return fmt::format("{} {} {}", run.device.name(), dtype_name(run.dtype), array);
  };
  Context ctx(run.device);
  const auto there = [&](const Tensor& x, const Shape& shape) {
    return to_device(as(x, shape, run.dtype), ctx.allocator(), MemoryTag::kWorkspace);
  };
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  Leaves leaves;
  const std::vector<Leaf> list = leaves.list(golden);
  Tensors inputs;
  for (const Leaf& leaf : list) {
    *leaf.to = tape.watch(there(golden.array(leaf.array), leaf.shape));
    inputs.push_back(*leaf.to);
  }
  const Mamba3CoreOutput core = mamba3_core(ctx, leaves.in, {.chunk = golden.size("chunk")});
  const std::vector<std::pair<std::string, Tensor>> outputs{
      {"y", mamba3_gate(ctx, core.o, leaves.z, {}, {})},
      {"final_angle_state", core.state.angle},
      {"final_ssm_state", core.state.ssm},
      {"final_k_state", core.state.k},
      {"final_v_state", core.state.v}};

  Tensors pulled;
  Tensors cotangents;
  for (const auto& [name, got] : outputs) {
    const Tensor expected = golden.array("output/" + name);
    errors.check(label(name), name == "final_angle_state" ? next_to(got, expected) : got, expected,
                 run.outputs);
    if (golden.has("cotangent/" + name)) {
      pulled.push_back(got);
      cotangents.push_back(there(golden.array("cotangent/" + name), got.shape().with_first(1)));
    }
  }
  const Tensors grads = tape.vjp(ctx, pulled, cotangents, inputs);
  for (std::size_t i = 0; i < list.size(); ++i) {
    errors.check(label("gradient " + list[i].name), grads[i], golden.array("grad/" + list[i].name),
                 run.gradients);
  }
}

// The inside of a block, between its two projections: from the golden projection to the gated
// output, and from the golden cotangent of that back to the one of the projection.
void check_mixer(const test::GoldenCase& golden, DType dtype, test::GoldenErrors& errors) {
  const bool is_exact = dtype == DType::kF64;
  const auto label = [&](const std::string& array) {
    return fmt::format("{} mixer {}", dtype_name(dtype), array);
  };
  const auto size = [&](const char* name) { return golden.size(name); };
  const std::int64_t b = size("B");
  const std::int64_t t = size("T");
  const std::int64_t h = size("H");
  const std::int64_t n = size("N");
  const std::int64_t g = size("G");
  const std::int64_t s = size("S");
  const Shape value{b, t, h, size("P")};
  const Shape qk{b, t, 1, g, n};
  const Shape scalar{b, t, h};
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor projected = golden.array("intermediate/in_proj");
  const Tensor dprojected = golden.array("grad_intermediate/in_proj");
  Tensors inputs;
  std::vector<std::pair<std::string, Tensor>> gradients;
  std::int64_t column = 0;
  const auto part = [&](const std::string& name, const Shape& shape) {
    const std::int64_t width = shape.numel() / (b * t);
    inputs.push_back(tape.watch(as(columns(projected, column, width), shape, dtype)));
    gradients.emplace_back(name, columns(dprojected, column, width));
    column += width;
    return inputs.back();
  };
  const auto weight = [&](const std::string& name, const Shape& shape) {
    inputs.push_back(tape.watch(as(golden.array("param/mixer." + name), shape, dtype)));
    gradients.emplace_back(name, golden.array("grad/mixer." + name));
    return inputs.back();
  };
  const Tensor z = part("z", value);
  const Tensor x = part("x", value);
  const Tensor k = part("B", qk);
  const Tensor q = part("C", qk);
  const Tensor dd_dt = part("dd_dt", scalar);
  const Tensor dd_a = part("dd_A", scalar);
  const Tensor trap = part("trap", scalar);
  const Tensor angle = part("angle", {b, t, s});
  REQUIRE(column == projected.dim(-1));

  const auto& sizes = golden.manifest().at("sizes");
  const double eps = sizes.at("eps");
  const bool is_softplus = sizes.at("A_activation") == "softplus";
  const Mamba3Decay decay = mamba3_decay(
      ctx, dd_dt, dd_a, weight("dt_bias", {h}),
      {.activation = is_softplus ? DecayActivation::kSoftplus : DecayActivation::kHeavyTail,
       .floor = sizes.at("A_floor")});
  const Mamba3CoreOutput core =
      mamba3_core(ctx,
                  {.q = rms_norm(ctx, q, weight("C_norm.weight", {n}), eps),
                   .k = rms_norm(ctx, k, weight("B_norm.weight", {n}), eps),
                   .v = x,
                   .a = decay.a,
                   .dt = decay.dt,
                   .trap = trap,
                   .angle = angle,
                   .q_bias = weight("C_bias", {h, 1, n}),
                   .k_bias = weight("B_bias", {h, 1, n}),
                   .d = weight("D", {h})},
                  {.chunk = golden.size("chunk")});
  const Tensor y = mamba3_gate(ctx, core.o, z, {}, {});
  errors.check(label("dt"), decay.dt, golden.array("intermediate/dt"), is_exact ? 1e-10 : 1e-4);
  errors.check(label("core_y"), y, golden.array("intermediate/core_y"), is_exact ? 1e-10 : 1e-4);
  errors.check(label("final_ssm_state"), core.state.ssm, golden.array("output/final_ssm_state"),
               is_exact ? 1e-10 : 1e-4);
  const Tensor dy = as(golden.array("grad_intermediate/core_y"), y.shape().with_first(1), dtype);
  const Tensors grads = tape.vjp(ctx, std::span(&y, 1), std::span(&dy, 1), inputs);
  for (std::size_t i = 0; i < grads.size(); ++i) {
    errors.check(label("gradient " + gradients[i].first), grads[i], gradients[i].second,
                 is_exact ? 1e-9 : 1e-4);
  }
}

TEST_CASE("the operations of Mamba-3 agree with the golden vectors", "[ops][golden][mamba3]") {
  test::GoldenErrors errors("mamba3");
  for (const test::GoldenCase& golden : test::golden_cases("mamba3")) {
    INFO(golden.name());
    const bool is_core = golden.has("input/q");
    if (!is_core && !golden.has("intermediate/in_proj")) {
      std::cout << "skipped: golden mamba3 " << golden.name() << ", neither a core nor a block\n";
      continue;
    }
    if (!is_core) {
      check_mixer(golden, DType::kF64, errors);
      check_mixer(golden, DType::kF32, errors);
      continue;
    }
    check_core(golden, {DType::kF64, 1e-10, 1e-9}, errors);
    check_core(golden, {DType::kF32, 1e-4, 1e-4}, errors);
    for (const Device& device : test::cuda_devices()) {
      check_core(golden, {DType::kF32, 1e-4, 1e-4, device}, errors);
      check_core(golden, {DType::kBF16, 3e-2, 3e-2, device}, errors);
    }
  }
}

}  // namespace
}  // namespace ghost
