#include "ops/embedding.h"

#include <algorithm>
#include <cmath>

#include "engine/tensor/primitives.h"
#include "ops/optim/gradient_norm.h"
#include "ops/optim/sgd.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::InputKind;
using test::normal;
using test::tensor_of;
using test::tokens_of;

TEST_CASE("embedding satisfies the op contract", "[ops]") {
  // Wide enough for several cache lines of columns; tokens repeat.
  test::check_op(
      {.inputs = {{test::integers({2, 5}, 4, 1), InputKind::kConstant},
                  {normal({4, 37}, 2), InputKind::kWeight}},
       .run = [](Context& ctx, const Tensors& in) { return embedding(ctx, in[0], in[1]); }});
}

TEST_CASE("position_embedding satisfies the op contract", "[ops]") {
  for (const std::int64_t start : {0, 2}) {
    test::check_op({.inputs = {{normal({2, 5, 7}, 1)}, {normal({8, 7}, 2), InputKind::kWeight}},
                    .run = [&](Context& ctx, const Tensors& in) {
                      return position_embedding(ctx, in[0], in[1], start);
                    }});
  }
}

TEST_CASE("embedding and position_embedding look rows up", "[ops]") {
  Context ctx(Device{});
  const Tensor table = tensor_of({3, 2}, {1, 2, 3, 4, 5, 6});
  const Tensor x = embedding(ctx, tokens_of({1, 3}, {2, 0, 2}), table);
  CHECK(x.shape() == Shape{1, 3, 2});
  CHECK(test::values_of(x) == std::vector<double>{5, 6, 1, 2, 5, 6});
  const Tensor positions = tensor_of({4, 2}, {0, 0, 10, 20, 30, 40, 50, 60});
  CHECK(test::values_of(position_embedding(ctx, x, positions, 1)) ==
        std::vector<double>{15, 26, 31, 42, 55, 66});
}

// A table that is tied to the head gets the gradients of two ops, in either order.
TEST_CASE("embedding adds to a gradient that is there", "[ops]") {
  Context ctx(Device{});
  Parameter table{.name = "wte", .shape = {3, 2}};
  table.value = normal({3, 2}, 1);
  table.grad = normal({3, 2}, 2);  // stale: must not shine through
  Tape tape;
  const Context::Recording recording(ctx, &tape);
  const Tensor weight = ctx.use(table);
  const Tensor first = embedding(ctx, tokens_of({1, 2}, {0, 0}), weight);
  const Tensor second = embedding(ctx, tokens_of({1, 2}, {0, 1}), weight);
  const Tensors outputs{first, second};
  const Tensors cotangents{tensor_of({1, 1, 2, 2}, {1, 2, 3, 4}),
                           tensor_of({1, 1, 2, 2}, {10, 20, 30, 40})};
  tape.pull(ctx, outputs, cotangents, {}, Tape::Parameters::kAccumulate);
  CHECK(test::values_of(table.grad) == std::vector<double>{14, 26, 30, 40, 0, 0});
}

// The table lies between others, its ends within blocks that are theirs too.
TEST_CASE("an embedding's gradient knows where it is zero", "[ops]") {
  constexpr std::int64_t kVocab = 8000;
  constexpr std::int64_t kChannels = 16;
  Context ctx(Device{});
  ParameterStore store;
  Parameter& before = store.declare("before", {1, 100}, Decay::kYes, {InitKind::kNormal, 1});
  Parameter& table = store.declare("wte", {kVocab, kChannels}, Decay::kYes, {});
  Parameter& after = store.declare("after", {3, 50}, Decay::kYes, {InitKind::kNormal, 1});
  store.materialize(ctx.allocator(), DType::kF64);
  store.initialize(1);
  const ZeroBlocks& zeros = *store.groups()[0].zeros;
  Sgd sgd({.momentum = 0.9}, ctx, store);
  std::vector<double> values(kVocab * kChannels);
  std::vector<double> average(values.size());
  for (std::uint64_t step = 1; step <= 3; ++step) {
    const Tensor tokens = test::integers({2, 4}, kVocab, step);
    const Tensor dy = normal({1, 2, 4, kChannels}, step);
    fill(before.grad, 1);
    fill(after.grad, 1);
    store.begin_gradients();
    before.claim_grad();
    after.claim_grad();
    Tape tape;
    const Context::Recording recording(ctx, &tape);
    const Tensor y = embedding(ctx, tokens, ctx.use(table));
    tape.pull(ctx, std::span(&y, 1), std::span(&dy, 1), {}, Tape::Parameters::kAccumulate);
    store.finish_gradients();

    std::vector<double> grad(values.size());
    for (std::int64_t i = 0; i < 8 * kChannels; ++i) {
      const std::int64_t row = tokens.data<std::int32_t>()[i / kChannels];
      grad[static_cast<std::size_t>(row * kChannels + i % kChannels)] += dy.data<double>()[i];
    }
    CHECK((test::values_of(table.grad) == grad));
    int known = 0;
    const auto flat = store.groups()[0].grads.span<double>();
    bool are_zero = true;
    for (std::size_t i = 0; i < flat.size(); ++i) {
      const bool is_known = zeros.is_zero(static_cast<std::int64_t>(i) / ZeroBlocks::kElements);
      known += is_known ? 1 : 0;
      are_zero = are_zero && (!is_known || flat[i] == 0);
    }
    CHECK(known >= 20 * ZeroBlocks::kElements);
    CHECK(are_zero);

    double sum_sq = 250;
    for (std::size_t i = 0; i < grad.size(); ++i) {
      sum_sq += grad[i] * grad[i];
      average[i] = 0.9 * average[i] + grad[i];
      values[i] -= 0.1 * average[i];
    }
    const StepNumbers numbers = step_numbers(ctx, store, tensor_of({1}, {1}), /*max_norm=*/0);
    CHECK(item(numbers.norm()) == Approx(std::sqrt(sum_sq)).epsilon(1e-12));
    sgd.step(ctx, store, {.lr = 0.1, .step = static_cast<std::int64_t>(step)});
    double worst = 0;
    const auto updated = test::values_of(table.value);
    for (std::size_t i = 0; i < values.size(); ++i) {
      worst = std::max(worst, std::abs(updated[i] - values[i]));
    }
    CHECK(worst < 1e-14);
  }
}

TEST_CASE("embedding refuses tokens that the table does not have", "[ops]") {
  Context ctx(Device{});
  const Tensor table = normal({65, 2}, 1);
  const Tensor tokens = test::integers({2, 8}, 65, 1);
  tokens.data<std::int32_t>()[12] = 70;
  CHECK_THROWS_WITH(embedding(ctx, tokens, table),
                    "embedding: token 70 at position 12; expected less than vocab_size 65");
  tokens.data<std::int32_t>()[3] = -1;
  CHECK_THROWS_WITH(embedding(ctx, tokens, table),
                    "embedding: token -1 at position 3; expected less than vocab_size 65");
}

TEST_CASE("embedding refuses wrong dtypes and shapes", "[ops]") {
  Context ctx(Device{});
  CHECK_THROWS_WITH(embedding(ctx, normal({2, 2}, 1), normal({3, 2}, 1)),
                    "embedding: tokens are f64; expected i32");
  CHECK_THROWS_WITH(embedding(ctx, tokens_of({1}, {0}), normal({3}, 1)),
                    "embedding: table is [3]; expected [vocab_size, channels]");
}

TEST_CASE("position_embedding refuses tables that do not fit", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({2, 5, 4}, 1);
  CHECK_THROWS_WITH(position_embedding(ctx, x, normal({8, 4}, 1), 4),
                    "position_embedding: 5 positions from 4 on against a table of 8; expected "
                    "start + seq_len to be at most 8");
  CHECK_THROWS_WITH(position_embedding(ctx, x, normal({8, 3}, 1), 0),
                    "shape mismatch in position_embedding: x [2,5,4] against table [8,3]; "
                    "expected [B,T,C] and [max_T,C]");
  CHECK_THROWS_WITH(position_embedding(ctx, x, ctx.zeros({8, 4}, DType::kF32)),
                    "dtype mismatch in position_embedding: x f64 against table f32; expected one "
                    "dtype");
}

}  // namespace
}  // namespace ghost
