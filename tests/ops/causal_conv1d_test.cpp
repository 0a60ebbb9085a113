#include "ops/causal_conv1d.h"

#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::InputKind;
using test::normal;
using test::values_of;

constexpr ConvActivation kActivations[] = {ConvActivation::kNone, ConvActivation::kSilu};

TEST_CASE("causal_conv1d satisfies the op contract", "[ops]") {
  for (const ConvActivation activation : kActivations) {
    for (const Shape& weight : {Shape{3, 4}, Shape{67, 1, 2}, Shape{2, 1}}) {
      const std::int64_t channels = weight[0];
      test::check_op({.inputs = {{normal({2, 5, channels}, 1)},
                                 {normal(weight, 2), InputKind::kWeight},
                                 {normal({channels}, 3), InputKind::kWeight}},
                      .run = [activation](Context& ctx, const Tensors& in) {
                        return causal_conv1d(ctx, in[0], in[1], in[2], activation);
                      }});
    }
  }
}

TEST_CASE("causal_conv1d with a state satisfies the op contract", "[ops]") {
  for (const std::int64_t seq_len : {1, 2, 5}) {
    test::check_op({.inputs = {{normal({2, seq_len, 3}, 1)},
                               {normal({3, 4}, 2), InputKind::kWeight},
                               {Tensor{}, InputKind::kWeight},
                               {normal({2, 3, 3}, 4)}},
                    .run = [](Context& ctx, const Tensors& in) {
                      return causal_conv1d(ctx, in[0], in[1], in[2], ConvActivation::kSilu, in[3]);
                    }});
  }
}

TEST_CASE("causal_conv1d multiplies the current token by its last tap", "[ops]") {
  Context ctx(Device{});
  const Tensor x = test::tensor_of({1, 3, 1}, {1, 2, 3});
  const Tensor weight = test::tensor_of({1, 2}, {10, 100});
  const Tensor bias = test::tensor_of({1}, {0.5});
  CHECK(values_of(causal_conv1d(ctx, x, weight, bias, ConvActivation::kNone)) ==
        std::vector<double>{100.5, 210.5, 320.5});
  const Tensor state = test::tensor_of({1, 1, 1}, {7});
  CHECK(values_of(causal_conv1d(ctx, x, weight, bias, ConvActivation::kNone, state)) ==
        std::vector<double>{170.5, 210.5, 320.5});
}

TEST_CASE("causal_conv1d in pieces equals the whole sequence", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({1, 9, 5}, 1);
  const Tensor weight = normal({5, 4}, 2);
  const Tensor bias = normal({5}, 3);
  const auto whole = values_of(causal_conv1d(ctx, x, weight, bias, ConvActivation::kSilu));
  std::vector<double> pieces;
  Tensor state;
  std::int64_t begin = 0;
  for (const std::int64_t length : {2, 1, 5, 1}) {
    const Tensor part = x.reshape({9, 5}).slice(begin, begin + length).reshape({1, length, 5});
    for (const double value :
         values_of(causal_conv1d(ctx, part, weight, bias, ConvActivation::kSilu, state))) {
      pieces.push_back(value);
    }
    state = causal_conv1d_state(ctx, part, 4, state);
    begin += length;
  }
  CHECK(pieces == whole);
}

TEST_CASE("causal_conv1d makes its output again", "[ops]") {
  Context ctx(Device{});
  Tape tape;
  const Tensor x = tape.watch(normal({2, 6, 3}, 1));
  const Context::Recording recording(ctx, &tape);
  const Tensor y = causal_conv1d(ctx, x, normal({3, 4}, 2), normal({3}, 3), ConvActivation::kSilu,
                                 normal({2, 3, 3}, 4));
  const Node& node = tape.nodes().back();
  REQUIRE(node.op().is_cheap());
  CHECK(test::relative_difference(node.op().recompute(ctx, node), y) == 0);
}

TEST_CASE("causal_conv1d refuses wrong shapes and dtypes", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({2, 5, 3}, 1);
  const Tensor weight = normal({3, 4}, 1);
  const auto conv = [&](const Tensor& in, const Tensor& taps, const Tensor& bias,
                        const Tensor& state) {
    return causal_conv1d(ctx, in, taps, bias, ConvActivation::kSilu, state);
  };
  CHECK_THROWS_WITH(conv(normal({5, 3}, 1), weight, {}, {}),
                    "causal_conv1d: x is [5,3]; expected [B,T,C]");
  CHECK_THROWS_WITH(conv(x, normal({4, 3}, 1), {}, {}),
                    "shape mismatch in causal_conv1d: x [2,5,3] against weight [4,3]; expected "
                    "[3,K] or [3,1,K]");
  CHECK_THROWS_WITH(conv(x, weight, normal({4}, 1), {}),
                    "shape mismatch in causal_conv1d: x [2,5,3] against bias [4]; expected [3]");
  CHECK_THROWS_WITH(conv(x, weight, {}, normal({2, 4, 3}, 1)),
                    "shape mismatch in causal_conv1d: x [2,5,3] against state [2,4,3]; expected "
                    "[2,3,3] for 4 taps");
  CHECK_THROWS_WITH(conv(x, ctx.zeros({3, 4}, DType::kF32), {}, {}),
                    "causal_conv1d: weight and bias must have the dtype of x, f64");
  CHECK_THROWS_WITH(conv(x, weight, {}, ctx.zeros({2, 3, 3}, DType::kF32)),
                    "causal_conv1d: state must have the dtype of x, f64");
}

}  // namespace
}  // namespace ghost
