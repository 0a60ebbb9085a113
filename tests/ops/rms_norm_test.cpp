#include "ops/rms_norm.h"

#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::InputKind;
using test::normal;

TEST_CASE("rms_norm satisfies the op contract", "[ops]") {
  for (const Shape& shape : {Shape{1, 1}, Shape{3, 33}, Shape{2, 3, 19}}) {
    test::check_op(
        {.inputs = {{normal(shape, 1)}, {normal({shape.back()}, 2), InputKind::kWeight}},
         .run = [](Context& ctx, const Tensors& in) { return rms_norm(ctx, in[0], in[1], 1e-5); }});
  }
}

TEST_CASE("rms_norm does not see the scale of x", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({4, 33}, 1);
  const Tensor gain = normal({33}, 2);
  const Tensor y = rms_norm(ctx, x, gain, 1e-14);
  scale(x, 7.5);
  CHECK(test::relative_difference(rms_norm(ctx, x, gain, 1e-14), y) <= 1e-12);
}

TEST_CASE("rms_norm makes its output again from its residuals", "[ops]") {
  Context ctx(Device{});
  Tape tape;
  const Tensor x = tape.watch(normal({3, 5}, 1));
  const Tensor gain = normal({5}, 2);
  const Context::Recording recording(ctx, &tape);
  const Tensor y = rms_norm(ctx, x, gain, 1e-5);
  const Node& node = tape.nodes().back();
  CHECK(test::relative_difference(node.op().recompute(ctx, node), y) == 0);
}

TEST_CASE("rms_norm refuses wrong arguments", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({2, 4}, 1);
  CHECK_THROWS_WITH(
      rms_norm(ctx, x, normal({3}, 1), 1e-5),
      "shape mismatch in rms_norm: x [2,4] against gain [3]; expected gain to be [4]");
  CHECK_THROWS_WITH(rms_norm(ctx, x, ctx.zeros({4}, DType::kF32), 1e-5),
                    "dtype mismatch in rms_norm: x f64 against gain f32; expected one dtype");
  CHECK_THROWS_WITH(rms_norm(ctx, x, normal({4}, 1), -1),
                    "rms_norm: eps is -1; expected a positive number");
}

}  // namespace
}  // namespace ghost
