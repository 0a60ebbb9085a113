#include "ops/linear_cross_entropy.h"

#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::InputKind;
using test::normal;
using test::tokens_of;

TEST_CASE("linear_cross_entropy satisfies the op contract", "[ops]") {
  test::check_op({.inputs = {{normal({2, 3, 5}, 1)},
                             {normal({7, 5}, 2), InputKind::kWeight},
                             {tokens_of({2, 3}, {6, 0, -1, 3, 3, 1}), InputKind::kConstant}},
                  .run = [](Context& ctx, const Tensors& in) {
                    return linear_cross_entropy(ctx, in[0], in[1], in[2]);
                  }});
}

TEST_CASE("linear_cross_entropy satisfies the op contract with padding", "[ops]") {
  test::check_op({.inputs = {{normal({4, 5}, 1)},
                             {normal({7, 5}, 2), InputKind::kWeight},
                             {tokens_of({4}, {4, 0, 3, -1}), InputKind::kConstant}},
                  .run = [](Context& ctx, const Tensors& in) {
                    return linear_cross_entropy(ctx, in[0], in[1], in[2], {.vocab_size = 5});
                  }});
}

TEST_CASE("linear_cross_entropy does not see padding", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({3, 4}, 1);
  const Tensor weight = normal({8, 4}, 2);
  const Tensor targets = tokens_of({3}, {0, 5, 2});
  const Tensor padded = linear_cross_entropy(ctx, x, weight, targets, {.vocab_size = 6});
  const Tensor cut = linear_cross_entropy(ctx, x, weight.slice(0, 6), targets);
  CHECK(test::values_of(padded)[0] == Approx(test::values_of(cut)[0]).epsilon(1e-15));
}

TEST_CASE("linear_cross_entropy of equal logits is log V", "[ops]") {
  Context ctx(Device{});
  const Tensor x = test::tensor_of({2, 1}, {0, 0});
  const Tensor loss = linear_cross_entropy(ctx, x, normal({50, 1}, 1), tokens_of({2}, {4, 49}));
  CHECK(test::values_of(loss)[0] == Approx(std::log(50.0)).epsilon(1e-14));
}

TEST_CASE("linear_cross_entropy never holds all logits", "[ops]") {
  // 2048 rows x 65536 logits would be 1 GiB in f64.
  Context ctx(Device{.is_dry = true});
  Tape tape;
  const Tensor x = tape.watch(ctx.empty({2048, 8}, DType::kF64));
  const Tensor weight = tape.watch(ctx.empty({65536, 8}, DType::kF64));
  const Context::Recording recording(ctx, &tape);
  const Tensor loss =
      linear_cross_entropy(ctx, x, weight, ctx.empty({2048}, DType::kI32, MemoryTag::kBatch));
  CHECK(ctx.meter().total_peak() < 160 << 20);
}

TEST_CASE("linear_cross_entropy is the same in chunks", "[ops]") {
  // 64 MiB hold 512 rows of 16384 f64 logits: 700 rows need two chunks.
  Context ctx(Device{});
  const Tensor x = normal({700, 2}, 1);
  const Tensor weight = normal({16384, 2}, 2);
  const Tensor targets = test::integers({700}, 16384, 3);
  const double whole = test::values_of(linear_cross_entropy(ctx, x, weight, targets))[0];
  double sum = 0;
  for (std::int64_t begin = 0; begin < 700; begin += 100) {
    sum += test::values_of(linear_cross_entropy(ctx, x.slice(begin, begin + 100), weight,
                                                targets.slice(begin, begin + 100)))[0];
  }
  CHECK(whole == Approx(sum / 7).epsilon(1e-12));
}

// Loss and gradients of x and weight.
struct Pass {
  double loss;
  std::vector<double> dx;
  std::vector<double> dweight;
  bool holds_logits;
};

Pass pass(const Tensor& x, const Tensor& weight, const Tensor& targets) {
  Context ctx(Device{});
  Tape tape;
  const Tensors leaves{tape.watch(x), tape.watch(weight)};
  const Context::Recording recording(ctx, &tape);
  const Tensor loss = linear_cross_entropy(ctx, leaves[0], leaves[1], targets);
  const Tensor seed = test::tensor_of({1, 1}, {1});
  const bool holds_logits = tape.nodes().back().residual("exponentials").defined();
  const Tensors grads = tape.vjp(ctx, std::span(&loss, 1), std::span(&seed, 1), leaves);
  return {test::values_of(loss)[0], test::values_of(grads[0]), test::values_of(grads[1]),
          holds_logits};
}

TEST_CASE("linear_cross_entropy has one gradient, logits held or made again", "[ops]") {
  constexpr std::int64_t kRows = 300;  // x 16384 logits: too many to hold
  const Tensor x = normal({kRows, 2}, 1);
  const Tensor weight = normal({16384, 2}, 2);
  const Tensor targets = test::integers({kRows}, 16384, 3);
  const Pass whole = pass(x, weight, targets);
  CHECK_FALSE(whole.holds_logits);
  std::vector<double> dweight(whole.dweight.size());
  for (std::int64_t begin = 0; begin < kRows; begin += 100) {
    const Pass part = pass(x.slice(begin, begin + 100), weight, targets.slice(begin, begin + 100));
    CHECK(part.holds_logits);
    for (std::size_t i = 0; i < dweight.size(); ++i) {
      dweight[i] += part.dweight[i] / 3;
    }
    for (std::size_t i = 0; i < part.dx.size(); ++i) {
      CHECK(part.dx[i] / 3 ==
            Approx(whole.dx[static_cast<std::size_t>(2 * begin) + i]).margin(1e-14));
    }
  }
  double worst = 0;
  for (std::size_t i = 0; i < dweight.size(); ++i) {
    worst = std::max(worst, std::abs(dweight[i] - whole.dweight[i]));
  }
  CHECK(worst < 1e-14);
}

TEST_CASE("linear_cross_entropy has one gradient where few logits are two chunks", "[ops]") {
  // A chunk of 512 channels is 2048 rows; 2100 x 70 logits alone would be few enough to hold.
  const Tensor x = normal({2100, 512}, 1);
  const Tensor weight = normal({70, 512}, 2);
  const Tensor targets = test::integers({2100}, 70, 3);
  const Pass whole = pass(x, weight, targets);
  const Pass first = pass(x.slice(0, 1050), weight, targets.slice(0, 1050));
  CHECK(first.holds_logits);
  double worst = 0;
  for (std::size_t i = 0; i < first.dx.size(); ++i) {
    worst = std::max(worst, std::abs(whole.dx[i] - first.dx[i] / 2));
  }
  CHECK(worst < 1e-14);
}

TEST_CASE("linear_cross_entropy refuses bad targets and shapes", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({2, 3}, 1);
  const Tensor weight = normal({4, 3}, 1);
  CHECK_THROWS_WITH(
      linear_cross_entropy(ctx, x, weight, tokens_of({2}, {1, 4})),
      "linear_cross_entropy: target 4 at position 1; expected less than vocab_size 4");
  CHECK_THROWS_WITH(
      linear_cross_entropy(ctx, x, weight, tokens_of({2}, {1, 3}), {.vocab_size = 3}),
      "linear_cross_entropy: target 3 at position 1; expected less than vocab_size 3");
  CHECK_THROWS_WITH(linear_cross_entropy(ctx, x, weight, tokens_of({2}, {1, 3}), {.vocab_size = 5}),
                    "linear_cross_entropy: vocab_size is 5; the weight has 4 rows");
  CHECK_THROWS_WITH(linear_cross_entropy(ctx, x, weight, tokens_of({2}, {-1, -1})),
                    "linear_cross_entropy: all 2 targets are ignore_index -1");
  CHECK_THROWS_WITH(linear_cross_entropy(ctx, x, normal({4, 2}, 1), tokens_of({2}, {1, 1})),
                    "shape mismatch in linear_cross_entropy: x [2,3] against weight [4,2]; "
                    "expected the last dimension of x to equal 2");
  CHECK_THROWS_WITH(linear_cross_entropy(ctx, x, weight, tokens_of({3}, {1, 1, 1})),
                    "shape mismatch in linear_cross_entropy: x [2,3] against targets [3]; "
                    "expected one i32 target a row");
}

}  // namespace
}  // namespace ghost
