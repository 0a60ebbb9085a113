#include "ops/arithmetic.h"

#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;

TEST_CASE("add and mul_scalar satisfy the op contract", "[ops]") {
  for (const Shape& shape : {Shape{1}, Shape{3, 33}, Shape{2, 3, 19}}) {
    test::check_op({.inputs = {{normal(shape, 1)}, {normal(shape, 2)}},
                    .run = [](Context& ctx, const Tensors& in) { return add(ctx, in[0], in[1]); }});
    test::check_op({.inputs = {{normal(shape, 1)}}, .run = [](Context& ctx, const Tensors& in) {
                      return mul_scalar(ctx, in[0], -2.5);
                    }});
  }
}

TEST_CASE("add gives each use of one tensor its cotangent", "[ops]") {
  // y = (x + x) + 3 x: dx = 5 dy, though the adds hand the same dy around.
  test::check_op({.inputs = {{normal({2, 5}, 1)}}, .run = [](Context& ctx, const Tensors& in) {
                    return add(ctx, add(ctx, in[0], in[0]), mul_scalar(ctx, in[0], 3));
                  }});
}

Tensor as(const Context& ctx, const Tensor& x, DType dtype) {
  Tensor out = ctx.empty(x.shape(), dtype);
  cast(out, x);
  return out;
}

TEST_CASE("add joins bf16 to an f32 residual stream", "[ops]") {
  Context ctx(Device{});
  Tape tape;
  const Tensor a = tape.watch(as(ctx, normal({2, 3, 19}, 1), DType::kF32));
  const Tensor b = tape.watch(as(ctx, normal({2, 3, 19}, 2), DType::kBF16));
  const Context::Recording recording(ctx, &tape);
  const Tensor y = add(ctx, a, b);
  REQUIRE(y.dtype() == DType::kF32);
  CHECK(test::values_of(y) == test::values_of(add(ctx, a, as(ctx, b, DType::kF32))));
  const Tensor dy = as(ctx, normal({3, 2, 3, 19}, 3), DType::kF32);
  const Tensors inputs{a, b};
  const Tensors dx = tape.vjp(ctx, std::span(&y, 1), std::span(&dy, 1), inputs);
  CHECK(dx[0].dtype() == DType::kF32);
  CHECK(test::values_of(dx[0]) == test::values_of(dy));
  CHECK(dx[1].dtype() == DType::kBF16);
  CHECK(test::values_of(dx[1]) == test::values_of(as(ctx, dy, DType::kBF16)));
}

TEST_CASE("to_dtype rounds what it takes and what it gives back", "[ops]") {
  Context ctx(Device{});
  Tape tape;
  const Tensor x = tape.watch(as(ctx, normal({5, 7}, 1), DType::kBF16));
  const Context::Recording recording(ctx, &tape);
  CHECK(to_dtype(ctx, x, DType::kBF16).raw() == x.raw());
  const Tensor y = to_dtype(ctx, x, DType::kF32);
  REQUIRE(y.dtype() == DType::kF32);
  CHECK(test::values_of(y) == test::values_of(x));
  const Tensor dy = as(ctx, normal({2, 5, 7}, 2), DType::kF32);
  const Tensor dx = tape.vjp(ctx, std::span(&y, 1), std::span(&dy, 1), std::span(&x, 1))[0];
  CHECK(test::values_of(dx) == test::values_of(as(ctx, dy, DType::kBF16)));
}

TEST_CASE("add refuses tensors that do not match", "[ops]") {
  Context ctx(Device{});
  const Tensor a = normal({2, 4}, 1);
  CHECK_THROWS_WITH(add(ctx, a, normal({4, 2}, 1)),
                    "shape mismatch in add: a [2,4] against b [4,2]; expected one shape");
  CHECK_THROWS_WITH(add(ctx, a, ctx.zeros({2, 4}, DType::kF32)),
                    "dtype mismatch in add: a f64 against b f32; expected one dtype");
  const Tensor narrow = ctx.zeros({2, 4}, DType::kBF16);
  CHECK_THROWS_WITH(add(ctx, narrow, ctx.zeros({2, 4}, DType::kF32)),
                    "dtype mismatch in add: a bf16 against b f32; expected one dtype");
}

}  // namespace
}  // namespace ghost
