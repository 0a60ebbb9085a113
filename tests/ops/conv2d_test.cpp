#include "ops/conv2d.h"

#include "engine/core/error.h"
#include "engine/tensor/primitives.h"
#include "ops/conv2d_kernels.h"
#include "ops/pool2d.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::InputKind;
using test::normal;
using test::values_of;

// f64 is the plain definition; the harness compares oneDNN's f32 with it, for P = 1 and 3.
TEST_CASE("conv2d satisfies the op contract", "[ops]") {
  struct Case {
    Shape x;
    Shape weight;
  };
  for (const auto& [x, weight] :
       {Case{{2, 1, 3, 4}, {2, 1, 1, 1}}, Case{{1, 2, 5, 4}, {3, 2, 3, 3}},
        Case{{2, 3, 4, 6}, {5, 3, 5, 5}}}) {
    test::check_op(
        {.inputs = {{normal(x, 1)},
                    {normal(weight, 2), InputKind::kWeight},
                    {normal({weight[0]}, 3), InputKind::kWeight}},
         .run = [](Context& ctx, const Tensors& in) { return conv2d(ctx, in[0], in[1], in[2]); },
         .has_cuda_twin = false,
         .has_bf16 = false});
  }
}

TEST_CASE("conv2d shifts, sums and adds", "[ops]") {
  Context ctx(Device{});
  const Tensor x = test::tensor_of({1, 1, 2, 3}, {1, 2, 3, 4, 5, 6});
  // The element to the right, and ten of that below.
  const Tensor weight = test::tensor_of({1, 1, 3, 3}, {0, 0, 0, 0, 0, 1, 0, 10, 0});
  CHECK(values_of(conv2d(ctx, x, weight, test::tensor_of({1}, {100}))) ==
        std::vector<double>{142, 153, 160, 105, 106, 100});
}

TEST_CASE("oneDNN's convolution is the plain one at usual sizes", "[ops]") {
  Context ctx(Device{});
  const auto f32 = [&](const Shape& shape, std::uint64_t seed) {
    const Tensor out = ctx.empty(shape, DType::kF32);
    cast(out, normal(shape, seed));
    return out;
  };
  const Tensor x = f32({3, 32, 16, 16}, 1);
  const Tensor weight = f32({64, 32, 3, 3}, 2);
  const Tensor bias = f32({64}, 3);
  const Tensor dy = f32({3, 64, 16, 16}, 4);
  const Tensor y[] = {ctx.empty_like(dy), ctx.empty_like(dy)};
  cpu::conv2d({.x = x, .weight = weight, .bias = bias, .y = y[0]});
  cpu::reference_conv2d({.x = x, .weight = weight, .bias = bias, .y = y[1]});
  CHECK(test::relative_difference(y[0], y[1]) < 1e-5);
  const Tensor dx[] = {ctx.empty_like(x), ctx.empty_like(x)};
  cpu::conv2d(Conv2dInputBackward{.dy = dy, .weight = weight, .dx = dx[0]});
  cpu::reference_conv2d(Conv2dInputBackward{.dy = dy, .weight = weight, .dx = dx[1]});
  CHECK(test::relative_difference(dx[0], dx[1]) < 1e-5);
  const Tensor dweight[] = {ctx.empty_like(weight), ctx.empty_like(weight)};
  const Tensor dbias[] = {ctx.empty_like(bias), ctx.empty_like(bias)};
  cpu::conv2d(Conv2dWeightBackward{.dy = dy, .x = x, .dweight = dweight[0], .dbias = dbias[0]});
  cpu::reference_conv2d(
      Conv2dWeightBackward{.dy = dy, .x = x, .dweight = dweight[1], .dbias = dbias[1]});
  CHECK(test::relative_difference(dweight[0], dweight[1]) < 1e-5);
  CHECK(test::relative_difference(dbias[0], dbias[1]) < 1e-5);
}

TEST_CASE("conv2d refuses what does not fit", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({1, 2, 4, 4}, 1);
  CHECK_THROWS_WITH(conv2d(ctx, x, normal({3, 1, 3, 3}, 2), {}),
                    "shape mismatch in conv2d: x [1,2,4,4] against weight [3,1,3,3]; expected [B, "
                    "C, H, W] and [M, C, K, K] with an odd K");
  CHECK_THROWS_AS(conv2d(ctx, x, normal({3, 2, 2, 2}, 2), {}), Error);
  CHECK_THROWS_WITH(conv2d(ctx, x, normal({3, 2, 3, 3}, 2), normal({2}, 3)),
                    "shape mismatch in conv2d: weight [3,2,3,3] against bias [2]; expected bias to "
                    "be [3]");
}

TEST_CASE("pool2d satisfies the op contract", "[ops]") {
  for (const Pooling pooling : {Pooling::kMax, Pooling::kAverage}) {
    for (const Shape& shape : {Shape{1, 1, 2, 2}, Shape{2, 3, 4, 6}, Shape{2, 2, 5, 7}}) {
      test::check_op(
          {.inputs = {{normal(shape, 1)}},
           .run = [&](Context& ctx, const Tensors& in) { return pool2d(ctx, in[0], pooling); },
           .f32_tolerance = 1e-6,
           .has_cuda_twin = false,
           .has_bf16 = false});
    }
  }
}

TEST_CASE("pool2d takes the largest or the mean of windows", "[ops]") {
  Context ctx(Device{});
  const Tensor x = test::tensor_of({1, 1, 2, 5}, {1, 2, 3, 9, 50, 4, 0, 7, 5, 60});
  CHECK(values_of(pool2d(ctx, x, Pooling::kMax)) == std::vector<double>{4, 9});
  CHECK(values_of(pool2d(ctx, x, Pooling::kAverage)) == std::vector<double>{1.75, 6});
  CHECK_THROWS_WITH(pool2d(ctx, normal({1, 1, 1, 4}, 1), Pooling::kMax),
                    "pool2d: x [1,1,1,4]; expected [B, C, H, W] with H and W of 2 at least");
}

}  // namespace
}  // namespace ghost
