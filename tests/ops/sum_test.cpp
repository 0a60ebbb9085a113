#include "ops/sum.h"

#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;

TEST_CASE("sum and mean satisfy the op contract", "[ops]") {
  for (const Shape& shape : {Shape{1}, Shape{3, 33}, Shape{2, 3, 19}}) {
    test::check_op({.inputs = {{normal(shape, 1)}},
                    .run = [](Context& ctx, const Tensors& in) { return sum(ctx, in[0]); }});
    test::check_op({.inputs = {{normal(shape, 1)}},
                    .run = [](Context& ctx, const Tensors& in) { return mean(ctx, in[0]); }});
  }
}

TEST_CASE("sum in f32 loses nothing over many elements", "[ops]") {
  Context ctx(Device{});
  const Tensor x = ctx.empty({50000}, DType::kF32);
  fill(x, 0.1);
  CHECK(item(sum(ctx, x)) == Approx(50000 * static_cast<double>(0.1F)).epsilon(1e-7));
  CHECK(item(mean(ctx, x)) == Approx(static_cast<double>(0.1F)).epsilon(1e-7));
}

}  // namespace
}  // namespace ghost
