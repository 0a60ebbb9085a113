#include <cmath>
#include <iostream>
#include <numbers>

#include "engine/tensor/primitives.h"
#include "ops/mamba3_core.h"
#include "ops/mamba3_gate.h"
#include "tests/support/catch.h"
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
    const auto& sizes = golden.manifest().at("sizes");
    const auto size = [&](const char* name) { return sizes.at(name).get<std::int64_t>(); };
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

void check_core(const test::GoldenCase& golden, DType dtype, test::GoldenErrors& errors) {
  const bool is_exact = dtype == DType::kF64;
  const auto label = [&](const std::string& array) {
    return fmt::format("{} {}", dtype_name(dtype), array);
  };
  Context ctx(Device{});
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  Leaves leaves;
  const std::vector<Leaf> list = leaves.list(golden);
  Tensors inputs;
  for (const Leaf& leaf : list) {
    *leaf.to = tape.watch(as(golden.array(leaf.array), leaf.shape, dtype));
    inputs.push_back(*leaf.to);
  }
  const Mamba3CoreOutput core =
      mamba3_core(ctx, leaves.in, {.chunk = golden.manifest().at("sizes").at("chunk")});
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
                 is_exact ? 1e-10 : 1e-4);
    if (golden.has("cotangent/" + name)) {
      pulled.push_back(got);
      cotangents.push_back(as(golden.array("cotangent/" + name), got.shape().with_first(1), dtype));
    }
  }
  const Tensors grads = tape.vjp(ctx, pulled, cotangents, inputs);
  for (std::size_t i = 0; i < list.size(); ++i) {
    errors.check(label("gradient " + list[i].name), grads[i], golden.array("grad/" + list[i].name),
                 is_exact ? 1e-9 : 1e-4);
  }
}

TEST_CASE("the Mamba-3 core agrees with the golden vectors", "[ops][golden][mamba3]") {
  test::GoldenErrors errors("mamba3");
  for (const test::GoldenCase& golden : test::golden_cases("mamba3")) {
    INFO(golden.name());
    if (!golden.has("input/q")) {
      std::cout << "skipped: golden mamba3 " << golden.name() << ", a whole block\n";
      continue;
    }
    check_core(golden, DType::kF64, errors);
    check_core(golden, DType::kF32, errors);
  }
}

}  // namespace
}  // namespace ghost
