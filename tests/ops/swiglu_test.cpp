#include "ops/swiglu.h"

#include "ops/activation.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;

TEST_CASE("swiglu satisfies the op contract", "[ops]") {
  for (const Shape& shape : {Shape{2}, Shape{3, 34}, Shape{2, 3, 14}}) {
    test::check_op({.inputs = {{normal(shape, 1)}},
                    .run = [](Context& ctx, const Tensors& in) { return swiglu(ctx, in[0]); }});
  }
}

TEST_CASE("swiglu is silu of the first half times the second", "[ops]") {
  Context ctx(Device{});
  const Tensor x = test::tensor_of({2, 4}, {1, -2, 3, 4, 0, 5, -6, 0.5});
  const auto gates = test::values_of(silu(ctx, x));
  const auto y = test::values_of(swiglu(ctx, x));
  CHECK(y == std::vector<double>{gates[0] * 3, gates[1] * 4, gates[4] * -6, gates[5] * 0.5});
}

TEST_CASE("swiglu makes its output again from x", "[ops]") {
  Context ctx(Device{});
  Tape tape;
  const Tensor x = tape.watch(normal({3, 6}, 1));
  const Context::Recording recording(ctx, &tape);
  const Tensor y = swiglu(ctx, x);
  const Node& node = tape.nodes().back();
  REQUIRE(node.op().is_cheap());
  CHECK(test::relative_difference(node.op().recompute(ctx, node), y) == 0);
}

TEST_CASE("swiglu keeps int8 or int4 where activations keep derivatives", "[ops]") {
  const std::pair<Keep, Keep> kKeeps[] = {{Keep::kDerivative8, Keep::kInt8},
                                          {Keep::kDerivative4, Keep::kInt4}};
  for (const auto& [wanted, kept] : kKeeps) {
    Context ctx(Device{});
    Tape tape(ResidualPlan({.rules = {{.role = "activation_input", .keep = wanted}}}));
    const Context::Recording recording(ctx, &tape);
    const Tensor y = swiglu(ctx, tape.watch(normal({3, 6}, 1)));
    const Node& node = tape.nodes().back();
    CHECK(node.kept()[0].keep == kept);
    CHECK(test::relative_difference(node.op().recompute(ctx, node), y) <
          (kept == Keep::kInt8 ? 0.05 : 0.7));
  }
}

TEST_CASE("swiglu refuses an odd last dimension", "[ops]") {
  Context ctx(Device{});
  CHECK_THROWS_WITH(swiglu(ctx, normal({2, 5}, 1)),
                    "swiglu: x is [2,5]; expected the last dimension to be even, [gate | up]");
}

}  // namespace
}  // namespace ghost
