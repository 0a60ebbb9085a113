// The GPU's form of the Mamba-3 core, run on the CPU step by step, against the CPU's kernels.

#include <cmath>
#include <numbers>

#include "engine/tensor/primitives.h"
#include "ops/cuda/chunked/mamba3_pass.h"
#include "tests/support/catch.h"
#include "tests/support/host_launch.h"
#include "tests/support/mamba3_inputs.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::HostLaunch;
using test::Mamba3Sizes;
using test::relative_difference;

struct Case {
  Mamba3Sizes sizes;
  std::int64_t chunk = 4;
  RotaryPairing pairing = RotaryPairing::kAdjacent;
  bool has_state = false;
  std::int64_t basis = 1;
};

template <typename Input>
auto fields(Input& in) {
  return std::array{&in.q,           &in.k,         &in.v,        &in.a,
                    &in.dt,          &in.trap,      &in.angle,    &in.q_bias,
                    &in.k_bias,      &in.d,         &in.mimo_x,   &in.initial.angle,
                    &in.initial.ssm, &in.initial.k, &in.initial.v};
}
constexpr std::size_t kFirstWeight = 7;
constexpr std::size_t kFirstState = 11;
bool is_weight(std::size_t i) { return i >= kFirstWeight && i < kFirstState; }

/// Steps, decays, what steers the state and states: f32 where activations are bf16.
bool is_precise(std::size_t i) {
  return i == 3 || i == 4 || (i >= kFirstWeight && i < 10) || i >= kFirstState;
}

/// Everything that a call takes and returns.
struct Arrays {
  Mamba3CoreInput in;
  Tensor o;
  Mamba3State state;
  Tensor dout;
  Mamba3State dstate;
  Mamba3CoreInput grad;
};

Arrays arrays_of(const Context& ctx, const Case& test_case, DType dtype) {
  const Mamba3Sizes& n = test_case.sizes;
  const auto as = [&](const Tensor& x, DType to) {
    Tensor out = ctx.empty(x.shape(), to);
    cast(out, x);
    return out;
  };
  const DType precise = statistic_dtype(dtype);
  const auto poisoned = [&](const Shape& size, DType of) {
    Tensor out = ctx.empty(size, of);
    std::fill_n(out.raw(), out.bytes(), std::byte{0xff});
    return out;
  };
  Arrays out;
  Mamba3CoreInput values = test::random_input(n);
  if (test_case.has_state) {
    values.initial = test::random_state(n, 20);
  }
  const auto from = fields(values);
  const auto inputs = fields(out.in);
  const auto grads = fields(out.grad);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!from[i]->defined()) {
      continue;
    }
    *inputs[i] = as(*from[i], is_precise(i) ? precise : dtype);
    const Shape& shape = inputs[i]->shape();
    if (!is_weight(i)) {
      *grads[i] = poisoned(shape.with_first(test_case.basis), inputs[i]->dtype());
    } else if (test_case.basis == 1) {
      *grads[i] = as(test::normal(shape, 30 + i), precise);
    }
  }
  const Shape o{n.batch, n.seq_len, n.ranks, n.heads, n.head_dim};
  const Shape states[] = {{n.batch, n.heads, n.angles},
                          {n.batch, n.heads, n.head_dim, n.state},
                          {n.batch, n.ranks, n.heads, n.state},
                          {n.batch, n.heads, n.head_dim}};
  const auto cotangent = [&](const Shape& shape, std::uint64_t seed, DType of) {
    return as(test::normal(shape.with_first(test_case.basis), seed), of);
  };
  out.o = poisoned(o, dtype);
  out.state = {.angle = poisoned(states[0], precise),
               .ssm = poisoned(states[1], precise),
               .k = poisoned(states[2], precise),
               .v = poisoned(states[3], precise)};
  out.dout = cotangent(o, 50, dtype);
  out.dstate = {.angle = cotangent(states[0], 51, precise),
                .ssm = cotangent(states[1], 52, precise),
                .k = cotangent(states[2], 53, precise),
                .v = cotangent(states[3], 54, precise)};
  return out;
}

Mamba3Size size_of(const Case& test_case) {
  const Mamba3Sizes& n = test_case.sizes;
  return {.batch = n.batch,
          .seq_len = n.seq_len,
          .ranks = n.ranks,
          .groups = n.groups,
          .heads = n.heads,
          .head_dim = n.head_dim,
          .state = n.state,
          .angles = n.angles,
          .chunk = test_case.chunk};
}

// 0 and 2 pi are the same angle.
double turn_difference(const Tensor& a, const Tensor& b) {
  const auto x = test::values_of(a);
  const auto y = test::values_of(b);
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    worst = std::max(worst, std::abs(std::remainder(x[i] - y[i], 2 * std::numbers::pi)));
  }
  return worst;
}

template <typename T, int kLanes = 1>
void check(const Case& test_case, double tolerance) {
  const Context ctx(Device{});
  const Mamba3Size size = size_of(test_case);
  const auto forward = [&](const Arrays& x, const Tensor& workspace) {
    return Mamba3CoreForward{.in = x.in,
                             .o = x.o,
                             .state = x.state,
                             .workspace = workspace,
                             .size = size,
                             .pairing = test_case.pairing};
  };
  const auto backward = [&](const Arrays& x, const Tensor& workspace) {
    return Mamba3CoreBackward{.in = x.in,
                              .dout = x.dout,
                              .dstate = x.dstate,
                              .grad = x.grad,
                              .workspace = workspace,
                              .size = size,
                              .pairing = test_case.pairing};
  };
  const Arrays expected = arrays_of(ctx, test_case, DType::kF64);
  cpu::mamba3_core_recurrence(
      forward(expected, ctx.empty({cpu::mamba3_core_forward_workspace(size)}, DType::kF64)));
  cpu::mamba3_core(backward(
      expected,
      ctx.empty({cpu::mamba3_core_backward_workspace(size, test_case.basis)}, DType::kF64)));
  const Arrays got = arrays_of(ctx, test_case, kDTypeOf<T>);
  const HostLaunch<kLanes> launch(ctx);
  cuda::mamba3_pass<T>(launch, forward(got, {}));
  cuda::mamba3_pass<T>(launch, backward(got, {}));

  INFO("B = " << size.batch << ", T = " << size.seq_len << ", L = " << size.chunk
              << ", R = " << size.ranks << ", P = " << test_case.basis << ", state "
              << test_case.has_state << " in " << dtype_name(kDTypeOf<T>));
  CHECK(relative_difference(got.o, expected.o) <= tolerance);
  CHECK(turn_difference(got.state.angle, expected.state.angle) <= tolerance);
  CHECK(relative_difference(got.state.ssm, expected.state.ssm) <= tolerance);
  CHECK(relative_difference(got.state.k, expected.state.k) <= tolerance);
  CHECK(relative_difference(got.state.v, expected.state.v) <= tolerance);
  const auto gradients = fields(got.grad);
  const auto wanted = fields(expected.grad);
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    if (gradients[i]->defined()) {
      INFO("gradient " << i);
      CHECK(relative_difference(*gradients[i], *wanted[i]) <= tolerance);
    }
  }
}

TEST_CASE("the Mamba-3 core in the steps of a GPU equals the CPU's", "[ops]") {
  for (const std::int64_t seq_len : {1, 2, 8, 9, 37}) {
    for (const std::int64_t chunk : {1, 4, 11, 64}) {
      for (const bool has_state : {false, true}) {
        check<float>({.sizes = {.batch = 2, .seq_len = seq_len, .heads = 3, .state = 5},
                      .chunk = chunk,
                      .has_state = has_state},
                     5e-5);
      }
    }
  }
}

TEST_CASE("the Mamba-3 core in the steps of a GPU equals the CPU's with ranks and groups",
          "[ops]") {
  const Mamba3Sizes sizes{.batch = 2, .seq_len = 13, .ranks = 3, .groups = 2, .heads = 4};
  for (const RotaryPairing pairing : {RotaryPairing::kAdjacent, RotaryPairing::kHalves}) {
    for (const std::int64_t basis : {1, 3}) {
      check<float>({.sizes = sizes, .pairing = pairing, .has_state = true, .basis = basis}, 5e-5);
      check<float>({.sizes = sizes, .pairing = pairing, .basis = basis}, 5e-5);
    }
  }
}

TEST_CASE("the Mamba-3 core in the steps of a GPU works on a few batch entries at a time",
          "[ops]") {
  const Mamba3Sizes sizes{
      .batch = 3, .seq_len = 4100, .groups = 1, .heads = 1, .head_dim = 1, .state = 2, .angles = 1};
  check<float>({.sizes = sizes, .chunk = 16, .has_state = true}, 1e-3);
}

TEST_CASE("the Mamba-3 core in the steps of a GPU shares rows between lanes", "[ops]") {
  const Mamba3Sizes sizes{.seq_len = 4, .ranks = 2, .groups = 2, .heads = 2};
  check<float, 3>({.sizes = sizes, .chunk = 3, .has_state = true}, 5e-5);
}

// The cases of mamba3_core_test.cpp, which a GPU runs in bf16 as well.
TEST_CASE("the Mamba-3 core in the steps of a GPU equals the CPU's in bf16", "[ops]") {
  check<BFloat16>({.sizes = {.seq_len = 7, .head_dim = 2, .state = 5}, .chunk = 3}, 3e-2);
  check<BFloat16>(
      {.sizes = {.batch = 2, .seq_len = 3, .groups = 2, .heads = 4, .state = 3, .angles = 1}},
      3e-2);
  check<BFloat16>({.sizes = {.seq_len = 1, .heads = 1, .state = 5}}, 3e-2);
  const Mamba3Sizes n{.batch = 2, .seq_len = 5, .heads = 2, .head_dim = 2, .state = 4, .angles = 1};
  check<BFloat16>({.sizes = n, .chunk = 2, .has_state = true}, 3e-2);
  const Mamba3Sizes ranks{
      .seq_len = 5, .ranks = 3, .groups = 2, .head_dim = 2, .state = 4, .angles = 1};
  for (const bool has_state : {false, true}) {
    check<BFloat16>(
        {.sizes = ranks, .chunk = 2, .pairing = RotaryPairing::kHalves, .has_state = has_state},
        3e-2);
  }
}

}  // namespace
}  // namespace ghost
