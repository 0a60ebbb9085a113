// What ranks add to the Mamba-3 core: gradients in chunks against those token by token, one rank
// against none, ranks that say nothing.

#include <algorithm>
#include <array>

#include "ops/mamba3_core.h"
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
using test::relative_difference;
using test::to_list;

/// Of `basis` random cotangents of all outputs, those of all inputs; of one, also the gradients of
/// weights.
Tensors gradients(const Mamba3CoreInput& in, const Mamba3Sizes& n, std::int64_t chunk,
                  std::int64_t basis) {
  const Context ctx(Device{});
  const auto random = [basis](const Shape& shape, std::uint64_t seed) {
    return normal(shape.with_first(basis), seed);
  };
  const auto inputs = to_list(in);
  Tensors grads;
  for (const test::OpInput& input : inputs) {
    Tensor grad;
    if (input.value.defined() && input.kind != test::InputKind::kWeight) {
      grad = ctx.empty(input.value.shape().with_first(basis), DType::kF64);
    } else if (input.value.defined() && basis == 1) {
      grad = ctx.zeros(input.value.shape(), DType::kF64);
    }
    grads.push_back(grad);
  }
  const Mamba3Size size{.batch = n.batch,
                        .seq_len = n.seq_len,
                        .ranks = n.ranks,
                        .groups = n.groups,
                        .heads = n.heads,
                        .head_dim = n.head_dim,
                        .state = n.state,
                        .angles = n.angles,
                        .chunk = chunk};
  cpu::mamba3_core(Mamba3CoreBackward{
      .in = in,
      .dout = random({n.batch, n.seq_len, n.ranks, n.heads, n.head_dim}, 50),
      .dstate = {.angle = random({n.batch, n.heads, n.angles}, 51),
                 .ssm = random({n.batch, n.heads, n.head_dim, n.state}, 52),
                 .k = random({n.batch, n.ranks, n.heads, n.state}, 53),
                 .v = random({n.batch, n.heads, n.head_dim}, 54)},
      .grad = from_list(grads),
      .workspace = ctx.empty({cpu::mamba3_core_backward_workspace(size, basis)}, DType::kF64),
      .size = size,
      .pairing = RotaryPairing::kHalves});
  return grads;
}

// In chunks of one token the products of chunks are empty: what is left is the recurrence.
TEST_CASE("gradients of the Mamba-3 core in chunks equal those token by token", "[ops]") {
  for (const std::int64_t ranks : {1, 2, 3, 4}) {
    for (const std::int64_t seq_len : {1, 2, 15, 16, 17, 257}) {
      const Mamba3Sizes n{.batch = 1,
                          .seq_len = seq_len,
                          .ranks = ranks,
                          .groups = 3,
                          .heads = 6,
                          .head_dim = 5,
                          .state = 10,
                          .angles = 2};
      Mamba3CoreInput in = random_input(n);
      for (const bool has_state : {false, true}) {
        in.initial = has_state ? test::random_state(n, 30) : Mamba3State{};
        for (const std::int64_t basis : {1, 2}) {
          const std::int64_t chunk = basis == 1 ? 16 : 21;
          const Tensors expected = gradients(in, n, 1, basis);
          const Tensors got = gradients(in, n, chunk, basis);
          for (std::size_t i = 0; i < got.size(); ++i) {
            INFO("R = " << ranks << ", T = " << seq_len << ", L = " << chunk << ", gradient " << i);
            if (got[i].defined()) {
              CHECK(relative_difference(got[i], expected[i]) <= 1e-9);
            }
          }
        }
      }
    }
  }
}

/// x with its last dimension in the order in which halves are the pairs that were neighbours.
Tensor in_halves(const Tensor& x) {
  const std::int64_t state = x.dim(-1);
  Tensor out = normal(x.shape(), 0);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const std::int64_t at = i % state;
    const std::int64_t from = at < state / 2 ? 2 * at : 2 * (at - state / 2) + 1;
    out.data<double>()[i] = x.data<double>()[i - at + from];
  }
  return out;
}

TEST_CASE("the Mamba-3 core pairs neighbours or halves, in one order or the other", "[ops]") {
  const Mamba3Sizes n{.seq_len = 21, .groups = 2, .heads = 4, .state = 10, .angles = 2};
  Context ctx(Device{});
  Mamba3CoreInput in = random_input(n);
  const Mamba3CoreOutput adjacent = mamba3_core(ctx, in, {.chunk = 8});
  const Tensor unlike = mamba3_core(ctx, in, {.chunk = 8, .pairing = RotaryPairing::kHalves}).o;
  CHECK(relative_difference(unlike, adjacent.o) > 1e-3);
  for (Tensor* x : {&in.q, &in.k, &in.q_bias, &in.k_bias}) {
    *x = in_halves(*x);
  }
  const Mamba3CoreOutput halves =
      mamba3_core(ctx, in, {.chunk = 8, .pairing = RotaryPairing::kHalves});
  CHECK(relative_difference(halves.o, adjacent.o) <= 1e-12);
  CHECK(relative_difference(halves.state.ssm, in_halves(adjacent.state.ssm)) <= 1e-12);
  CHECK(relative_difference(halves.state.k, in_halves(adjacent.state.k)) <= 1e-12);
}

// o_r is linear in the inputs of all ranks: with x_r = 0 but for one, rank r reads that one alone.
TEST_CASE("outputs of a rank add up over the inputs of all ranks", "[ops]") {
  const Mamba3Sizes n{.seq_len = 11, .ranks = 3, .state = 8};
  const Mamba3CoreOptions options{.chunk = 4, .pairing = RotaryPairing::kHalves};
  Context ctx(Device{});
  const Mamba3CoreInput in = random_input(n);
  const Tensor whole = mamba3_core(ctx, in, options).o;
  std::vector<double> sum(static_cast<std::size_t>(whole.numel()));
  for (std::int64_t rank = 0; rank < n.ranks; ++rank) {
    Mamba3CoreInput one = in;
    one.mimo_x = ctx.zeros(in.mimo_x.shape(), DType::kF64);
    for (std::int64_t head = 0; head < n.heads; ++head) {
      const std::int64_t row = (head * n.ranks + rank) * n.head_dim;
      std::copy_n(in.mimo_x.data<double>() + row, n.head_dim, one.mimo_x.data<double>() + row);
    }
    const auto part = test::values_of(mamba3_core(ctx, one, options).o);
    std::transform(sum.begin(), sum.end(), part.begin(), sum.begin(), std::plus<>());
  }
  CHECK(relative_difference(whole, test::tensor_of(whole.shape(), sum)) <= 1e-12);
}

}  // namespace
}  // namespace ghost
