#include "ops/taylor_activation.h"

#include <cmath>

#include "engine/core/error.h"
#include "engine/tensor/primitives.h"
#include "ops/poisson_loss.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::InputKind;
using test::normal;
using test::values_of;

TEST_CASE("taylor_activation satisfies the op contract", "[ops]") {
  for (const TaylorFunction function : {TaylorFunction::kTanh, TaylorFunction::kIdentity}) {
    for (const Shape& shape : {Shape{3, 1, 1}, Shape{4, 5, 3}, Shape{5, 2, 33}}) {
      test::check_op(
          {.inputs = {{normal(shape, 1)}, {normal({shape[2]}, 2), InputKind::kWeight}},
           .run = [&](Context& ctx,
                      const Tensors& in) { return taylor_activation(ctx, in[0], in[1], function); },
           .f32_tolerance = 1e-5,
           .has_cuda_twin = false,
           .has_bf16 = false});
    }
  }
}

// tanh(a x + b y + c) at one point: values of the chain rule.
TEST_CASE("taylor_activation propagates slopes and Laplacians", "[ops]") {
  Context ctx(Device{});
  const double a = 0.7;
  const double b = -1.3;
  const Tensor z = test::tensor_of({4, 1, 1}, {0.2, a, b, 0.5});
  const auto y =
      values_of(taylor_activation(ctx, z, test::tensor_of({1}, {0.1}), TaylorFunction::kTanh));
  const double t = std::tanh(0.3);
  const double slope = 1 - t * t;
  CHECK(y[0] == Approx(t));
  CHECK(y[1] == Approx(slope * a));
  CHECK(y[2] == Approx(slope * b));
  CHECK(y[3] == Approx(-2 * t * slope * (a * a + b * b) + slope * 0.5));
}

TEST_CASE("coordinates have unit slopes and no Laplacian", "[ops]") {
  const Context ctx(Device{});
  const auto y = values_of(taylor_coordinates(ctx, test::tensor_of({2, 2}, {3, 4, 5, 6})));
  CHECK(y == std::vector<double>{3, 4, 5, 6, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0});
}

TEST_CASE("taylor_activation refuses what does not fit", "[ops]") {
  Context ctx(Device{});
  CHECK_THROWS_WITH(taylor_activation(ctx, normal({2, 3, 4}, 1), {}, TaylorFunction::kTanh),
                    "shape mismatch in taylor_activation: z [2,3,4]; expected [2 + d, N, C]");
  CHECK_THROWS_WITH(
      taylor_activation(ctx, normal({4, 3, 4}, 1), normal({3}, 1), TaylorFunction::kTanh),
      "shape mismatch in taylor_activation: z [4,3,4] against bias [3]; expected bias to be [4]");
  CHECK_THROWS_WITH(taylor_coordinates(ctx, normal({3}, 1)),
                    "taylor_coordinates: points [3]; expected [N, d]");
}

TEST_CASE("poisson_loss satisfies the op contract", "[ops]") {
  for (const std::int64_t boundary : {0, 3}) {
    test::check_op({.inputs = {{normal({4, 7, 1}, 1)}, {normal({7}, 2), InputKind::kConstant}},
                    .run =
                        [&](Context& ctx, const Tensors& in) {
                          // Constants stay f64 in the harness's f32 run unless they are cast.
                          const Tensor targets = ctx.empty(in[1].shape(), in[0].dtype());
                          cast(targets, in[1]);
                          return poisson_loss(
                              ctx, in[0], targets,
                              {.boundary_points = boundary, .boundary_weight = 2.5});
                        },
                    .f32_tolerance = 1e-5,
                    .has_cuda_twin = false,
                    .has_bf16 = false});
  }
}

TEST_CASE("poisson_loss weighs residuals and the boundary", "[ops]") {
  Context ctx(Device{});
  // Values 1, 2, 3; Laplacians -5, -7, 100; f = 4 and 5 inside, g = 1 on the border.
  const Tensor u = test::tensor_of({4, 3, 1}, {1, 2, 3, 0, 0, 0, 0, 0, 0, -5, -7, 100});
  const Tensor targets = test::tensor_of({3}, {4, 5, 1});
  const auto loss =
      values_of(poisson_loss(ctx, u, targets, {.boundary_points = 1, .boundary_weight = 10}));
  CHECK(loss[0] == Approx((1.0 + 4.0) / 2 + 10 * 4.0));
  CHECK_THROWS_WITH(poisson_loss(ctx, u, targets, {.boundary_points = 3}),
                    "poisson_loss: 3 of 3 points on the boundary; expected fewer");
  CHECK_THROWS_WITH(poisson_loss(ctx, u, test::tensor_of({2}, {1, 1}), {}),
                    "shape mismatch in poisson_loss: u [4,3,1] against targets [2]; expected [2 + "
                    "d, N, 1] and [N]");
}

}  // namespace
}  // namespace ghost
