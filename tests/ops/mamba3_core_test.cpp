#include "ops/mamba3_core.h"

#include <cmath>
#include <numbers>

#include "engine/tensor/primitives.h"
#include "ops/mamba3_core_kernels.h"
#include "tests/support/catch.h"
#include "tests/support/mamba3_inputs.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::from_list;
using test::Mamba3Sizes;
using test::normal;
using test::random_input;
using test::random_state;
using test::relative_difference;
using test::to_list;

const Tensor& output_of(const Mamba3CoreOutput& out, int which) {
  const Tensor* all[] = {&out.o, &out.state.angle, &out.state.ssm, &out.state.k, &out.state.v};
  return *all[which];
}

void check_output(const Mamba3CoreInput& input, const Mamba3CoreOptions& options, int which = 0) {
  INFO("output " << which);
  test::check_op({.inputs = to_list(input), .run = [=](Context& ctx, const Tensors& in) {
                    return output_of(mamba3_core(ctx, from_list(in), options), which);
                  }});
}

Mamba3CoreOutput recurrence(const Mamba3CoreInput& in, const Mamba3CoreOptions& options) {
  Context ctx(Device{});
  const Mamba3Size n{.batch = in.q.dim(0),
                     .seq_len = in.q.dim(1),
                     .ranks = in.q.dim(2),
                     .groups = in.q.dim(3),
                     .heads = in.v.dim(2),
                     .head_dim = in.v.dim(3),
                     .state = in.q.dim(4),
                     .angles = in.angle.dim(2),
                     .chunk = 1};
  const auto empty = [&](const Shape& shape) { return ctx.empty(shape, in.v.dtype()); };
  Mamba3CoreOutput out{.o = empty({n.batch, n.seq_len, n.ranks, n.heads, n.head_dim}),
                       .state = {.angle = empty({n.batch, n.heads, n.angles}),
                                 .ssm = empty({n.batch, n.heads, n.head_dim, n.state}),
                                 .k = empty({n.batch, n.ranks, n.heads, n.state}),
                                 .v = empty({n.batch, n.heads, n.head_dim})}};
  cpu::mamba3_core_recurrence({.in = in,
                               .o = out.o,
                               .state = out.state,
                               .workspace = empty({cpu::mamba3_core_forward_workspace(n)}),
                               .size = n,
                               .pairing = options.pairing});
  return out;
}

// Angles 0 and 2 pi are the same.
double angle_difference(const Tensor& a, const Tensor& b) {
  double worst = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    worst = std::max(worst, std::abs(std::remainder(a.data<double>()[i] - b.data<double>()[i],
                                                    2 * std::numbers::pi)));
  }
  return worst;
}

void check_same(const Mamba3CoreOutput& got, const Mamba3CoreOutput& expected, double tolerance) {
  CHECK(relative_difference(got.o, expected.o) <= tolerance);
  CHECK(angle_difference(got.state.angle, expected.state.angle) <= tolerance);
  CHECK(relative_difference(got.state.ssm, expected.state.ssm) <= tolerance);
  CHECK(relative_difference(got.state.k, expected.state.k) <= tolerance);
  CHECK(relative_difference(got.state.v, expected.state.v) <= tolerance);
}

// Tokens [begin, end) of an input over time; states and weights as they are.
Tensor tokens(const Tensor& x, std::int64_t begin, std::int64_t end) {
  const std::int64_t row = x.numel() / (x.dim(0) * x.dim(1));
  std::vector<std::int64_t> dims(x.shape().dims().begin(), x.shape().dims().end());
  dims[1] = end - begin;
  Tensor out = normal(Shape(dims), 0);
  for (std::int64_t b = 0; b < x.dim(0); ++b) {
    std::copy_n(x.data<double>() + (b * x.dim(1) + begin) * row, (end - begin) * row,
                out.data<double>() + b * (end - begin) * row);
  }
  return out;
}

Mamba3CoreInput part_of(Mamba3CoreInput in, std::int64_t begin, std::int64_t end) {
  for (Tensor* x : {&in.q, &in.k, &in.v, &in.a, &in.dt, &in.trap, &in.angle}) {
    *x = tokens(*x, begin, end);
  }
  return in;
}

TEST_CASE("the Mamba-3 core satisfies the op contract", "[ops]") {
  check_output(random_input({.seq_len = 7, .head_dim = 2, .state = 5}), {.chunk = 3});
  check_output(random_input({.batch = 2,
                             .seq_len = 3,
                             .groups = 2,
                             .heads = 4,
                             .head_dim = 2,
                             .state = 3,
                             .angles = 1}),
               {.chunk = 4});
  check_output(random_input({.seq_len = 1, .heads = 1, .state = 5}), {});
  check_output(random_input({.seq_len = 3, .heads = 3, .head_dim = 1, .state = 2, .angles = 1}),
               {.chunk = 1});
}

TEST_CASE("the Mamba-3 core satisfies the op contract from a state and into one", "[ops]") {
  const Mamba3Sizes n{.batch = 2, .seq_len = 5, .heads = 2, .head_dim = 2, .state = 4, .angles = 1};
  Mamba3CoreInput in = random_input(n);
  in.initial = random_state(n, 20);
  for (const int which : {0, 1, 2, 3, 4}) {
    check_output(in, {.chunk = 2}, which);
  }
}

TEST_CASE("the Mamba-3 core satisfies the op contract with ranks", "[ops]") {
  const Mamba3Sizes n{
      .seq_len = 5, .ranks = 3, .groups = 2, .head_dim = 2, .state = 4, .angles = 1};
  Mamba3CoreInput in = random_input(n);
  check_output(in, {.chunk = 2, .pairing = RotaryPairing::kHalves});
  in.initial = random_state(n, 20);
  for (const int which : {0, 1, 2, 3, 4}) {
    check_output(in, {.chunk = 2, .pairing = RotaryPairing::kHalves}, which);
  }
  for (const std::int64_t ranks : {2, 4}) {
    const Mamba3Sizes small{.seq_len = 3, .ranks = ranks, .head_dim = 1, .state = 2, .angles = 1};
    check_output(random_input(small), {.chunk = 2, .pairing = RotaryPairing::kHalves});
  }
}

TEST_CASE("the Mamba-3 core in chunks equals its recurrence", "[ops]") {
  Context ctx(Device{});
  for (const std::int64_t seq_len : {1, 2, 15, 16, 17, 257}) {
    for (const std::int64_t ranks : {1, 2, 3, 4}) {
      const Mamba3Sizes n{.batch = 2,
                          .seq_len = seq_len,
                          .ranks = ranks,
                          .groups = 3,
                          .heads = 6,
                          .head_dim = 5,
                          .state = 10,
                          .angles = 2};
      Mamba3CoreInput in = random_input(n);
      for (const bool has_state : {false, true}) {
        in.initial = has_state ? random_state(n, 30) : Mamba3State{};
        for (const RotaryPairing pairing : {RotaryPairing::kAdjacent, RotaryPairing::kHalves}) {
          const Mamba3CoreOptions options{.chunk = 16, .pairing = pairing};
          INFO("T = " << seq_len << ", R = " << ranks);
          const Mamba3CoreOutput expected = recurrence(in, options);
          check_same(mamba3_core(ctx, in, options), expected, 1e-12);
          check_same(mamba3_core(ctx, in, {.pairing = pairing}), expected, 1e-12);
        }
      }
    }
  }
}

TEST_CASE("the Mamba-3 core goes on from the state it returned", "[ops]") {
  const Mamba3Sizes n{.batch = 2, .seq_len = 23, .ranks = 2, .state = 8};
  Context ctx(Device{});
  const Mamba3CoreInput in = random_input(n);
  const Mamba3CoreOutput whole = mamba3_core(ctx, in);
  Mamba3State state;
  for (std::int64_t begin = 0; const std::int64_t length : {9, 1, 1, 12}) {
    Mamba3CoreInput part = part_of(in, begin, begin + length);
    part.initial = state;
    const Mamba3CoreOutput out = mamba3_core(ctx, part, {.chunk = 4});
    CHECK(relative_difference(out.o, tokens(whole.o, begin, begin + length)) <= 1e-12);
    state = out.state;
    begin += length;
  }
  check_same({.o = whole.o, .state = state}, whole, 1e-12);
}

TEST_CASE("outputs of the Mamba-3 core do not depend on later tokens, bit by bit", "[ops]") {
  for (const std::int64_t ranks : {1, 2, 3, 4}) {
    const Mamba3Sizes n{.seq_len = 19, .ranks = ranks, .state = 8};
    const Mamba3CoreOptions options{
        .chunk = 8, .pairing = ranks > 1 ? RotaryPairing::kHalves : RotaryPairing::kAdjacent};
    Context ctx(Device{});
    const Mamba3CoreInput in = random_input(n);
    const Tensor before = mamba3_core(ctx, in, options).o;
    for (const std::int64_t t : {0, 5, 8, 11, 16, 18}) {
      INFO("R = " << ranks << ", t = " << t);
      Mamba3CoreInput changed = in;
      for (Tensor* x : {&changed.q, &changed.k, &changed.v, &changed.a, &changed.dt, &changed.trap,
                        &changed.angle}) {
        *x = tokens(*x, 0, n.seq_len);
        const std::int64_t row = x->numel() / n.seq_len;
        for (std::int64_t i = t * row; i < (t + 1) * row; ++i) {
          x->data<double>()[i] *= 0.5;
        }
      }
      const Tensor after = mamba3_core(ctx, changed, options).o;
      const double* a = before.data<double>();
      const double* b = after.data<double>();
      const std::int64_t unchanged = t * n.ranks * n.heads * n.head_dim;
      CHECK(std::equal(a, a + unchanged, b));
      CHECK(a[unchanged] != b[unchanged]);
    }
  }
}

// h = e^a h + dt x k^T, o = h q + D x.
TEST_CASE("without the trapezoid and angles the Mamba-3 core is that of Mamba-2", "[ops]") {
  const Mamba3Sizes n{.seq_len = 11, .heads = 1};
  Context ctx(Device{});
  Mamba3CoreInput in = random_input(n);
  fill(in.trap, 40);
  fill_zero(in.angle);
  const Tensor o = mamba3_core(ctx, in, {.chunk = 4}).o;
  std::vector<double> h(static_cast<std::size_t>(n.head_dim * n.state));
  for (std::int64_t t = 0; t < n.seq_len; ++t) {
    for (std::int64_t p = 0; p < n.head_dim; ++p) {
      const double x = in.v.data<double>()[t * n.head_dim + p];
      double sum = in.d.data<double>()[0] * x;
      for (std::int64_t i = 0; i < n.state; ++i) {
        const double k = in.k.data<double>()[t * n.state + i] + in.k_bias.data<double>()[i];
        const double q = in.q.data<double>()[t * n.state + i] + in.q_bias.data<double>()[i];
        double& state = h[static_cast<std::size_t>(p * n.state + i)];
        state = std::exp(in.a.data<double>()[t]) * state + in.dt.data<double>()[t] * x * k;
        sum += state * q;
      }
      CHECK(o.data<double>()[t * n.head_dim + p] == Approx(sum).margin(1e-12));
    }
  }
}

TEST_CASE("the Mamba-3 core does not feel where angles start", "[ops]") {
  const Mamba3Sizes n{.seq_len = 9, .state = 8};
  Context ctx(Device{});
  Mamba3CoreInput in = random_input(n);
  const Tensor o = mamba3_core(ctx, in).o;
  in.initial = random_state(n, 40);
  fill_zero(in.initial.ssm);
  fill_zero(in.initial.k);
  CHECK(relative_difference(mamba3_core(ctx, in).o, o) <= 1e-12);
}

TEST_CASE("the Mamba-3 core stays finite where everything is forgotten", "[ops]") {
  const Mamba3Sizes n{.seq_len = 9};
  Mamba3CoreInput in = random_input(n);
  fill(in.a, -1e4);
  check_output(in, {.chunk = 4});
}

TEST_CASE("the Mamba-3 core refuses what does not fit", "[ops]") {
  const Mamba3Sizes n{.seq_len = 2};
  Context ctx(Device{});
  const Mamba3CoreInput good = random_input(n);
  Mamba3CoreInput in = good;
  in.q = normal({2, 6}, 1);
  CHECK_THROWS_WITH(mamba3_core(ctx, in),
                    "shape mismatch in mamba3_core: q [2,6]; expected [B,T,R,G,N]");
  in = good;
  in.v = normal({2, 6}, 1);
  CHECK_THROWS_WITH(mamba3_core(ctx, in),
                    "shape mismatch in mamba3_core: v [2,6]; expected [B,T,H,P]");
  in = good;
  in.angle = normal({2, 2}, 1);
  CHECK_THROWS_WITH(mamba3_core(ctx, in),
                    "shape mismatch in mamba3_core: angle [2,2]; expected [B,T,S]");
  in = good;
  in.q = normal({1, 2, 1, 3, 6}, 1);
  CHECK_THROWS_WITH(mamba3_core(ctx, in),
                    "mamba3_core: 2 heads over 3 groups; expected a multiple");
  in = good;
  in.angle = normal({1, 2, 4}, 1);
  CHECK_THROWS_WITH(
      mamba3_core(ctx, in),
      "mamba3_core: 4 angles turn pairs of a state of 6; expected at most half as many");
  CHECK_THROWS_WITH(
      mamba3_core(ctx, random_input({.state = 5}), {.pairing = RotaryPairing::kHalves}),
      "mamba3_core: a state of 5 has no halves to pair; expected an even size");
  CHECK_THROWS_WITH(mamba3_core(ctx, good, {.chunk = -1}),
                    "mamba3_core: chunks of -1 tokens; expected 0 or more");
  in = good;
  in.initial.ssm = normal({1, 2, 3, 6}, 1);
  CHECK_THROWS_WITH(mamba3_core(ctx, in),
                    "mamba3_core: an initial state is given in part; expected angle, ssm, k and v");
  in = good;
  in.dt = normal({1, 3, 2}, 1);
  CHECK_THROWS_WITH(mamba3_core(ctx, in),
                    "shape mismatch in mamba3_core: dt [1,3,2] against q [1,2,1,1,6] and v "
                    "[1,2,2,3]; expected [1,2,2]");
  in = good;
  in.d = ctx.zeros({2}, DType::kF32);
  CHECK_THROWS_WITH(mamba3_core(ctx, in), "mamba3_core: d is f32; expected f64 where v is f64");
}

}  // namespace
}  // namespace ghost
