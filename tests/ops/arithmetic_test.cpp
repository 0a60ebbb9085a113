#include "ops/arithmetic.h"

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

TEST_CASE("add refuses tensors that do not match", "[ops]") {
  Context ctx(Device{});
  const Tensor a = normal({2, 4}, 1);
  CHECK_THROWS_WITH(add(ctx, a, normal({4, 2}, 1)),
                    "shape mismatch in add: a [2,4] against b [4,2]; expected one shape");
  CHECK_THROWS_WITH(add(ctx, a, ctx.zeros({2, 4}, DType::kF32)),
                    "dtype mismatch in add: a f64 against b f32; expected one dtype");
}

}  // namespace
}  // namespace ghost
