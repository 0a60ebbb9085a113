#include "ops/gated_add.h"

#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;

TEST_CASE("gated_add satisfies the op contract", "[ops]") {
  test::check_op(
      {.inputs = {{normal({2, 3, 5}, 1)},
                  {normal({2, 3, 5}, 2)},
                  {test::tensor_of({1}, {0.5}), test::InputKind::kWeight}},
       .run = [](Context& ctx, const Tensors& in) { return gated_add(ctx, in[0], in[1], in[2]); }});
}

TEST_CASE("a gate of zero lets nothing through", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({2, 3}, 1);
  const Tensor y = gated_add(ctx, x, normal({2, 3}, 2), test::tensor_of({1}, {0}));
  CHECK(test::values_of(y) == test::values_of(x));
}

TEST_CASE("gated_add refuses tensors that do not fit", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({2, 3}, 1);
  CHECK_THROWS_WITH(gated_add(ctx, x, x, x),
                    "shape mismatch in gated_add: x [2,3], change [2,3], gate [2,3]; expected one "
                    "shape and a gate of [1]");
  const Tensor gate = ctx.zeros({1}, DType::kF32);
  CHECK_THROWS_WITH(gated_add(ctx, x, x, gate),
                    "dtype mismatch in gated_add: x f64, change f64, gate f32; expected one dtype");
}

}  // namespace
}  // namespace ghost
