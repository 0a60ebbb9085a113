#include "ops/mamba3_gate.h"

#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::InputKind;
using test::normal;

TEST_CASE("the Mamba-3 gate satisfies the op contract", "[ops]") {
  const auto run = [](Context& ctx, const Tensors& in) {
    return mamba3_gate(ctx, in[0], in[1], in[2], in[3]);
  };
  test::check_op(
      {.inputs = {{normal({2, 3, 1, 2, 5}, 1)}, {normal({2, 3, 2, 5}, 2)}, {}, {}}, .run = run});
  test::check_op({.inputs = {{normal({2, 3, 4, 2, 3}, 1)},
                             {normal({2, 3, 2, 3}, 2)},
                             {normal({2, 4, 3}, 3), InputKind::kWeight},
                             {normal({2, 4, 3}, 4), InputKind::kWeight}},
                  .run = run});
}

TEST_CASE("the Mamba-3 gate of one rank is o silu(z)", "[ops]") {
  Context ctx(Device{});
  const Tensor o = normal({1, 2, 1, 3, 7}, 1);
  const Tensor z = normal({1, 2, 3, 7}, 2);
  const Tensor y = mamba3_gate(ctx, o, z, {}, {});
  for (std::int64_t i = 0; i < z.numel(); ++i) {
    const double gate = z.data<double>()[i];
    CHECK(y.data<double>()[i] ==
          Approx(o.data<double>()[i] * gate / (1 + std::exp(-gate))).margin(1e-14));
  }
}

TEST_CASE("the Mamba-3 gate makes its output again", "[ops]") {
  Context ctx(Device{});
  Tape tape;
  const Tensor o = tape.watch(normal({1, 2, 2, 3, 4}, 1));
  const Tensor weight = normal({3, 2, 4}, 3);
  const Context::Recording recording(ctx, &tape);
  const Tensor y = mamba3_gate(ctx, o, normal({1, 2, 3, 4}, 2), weight, {});
  const Node& node = tape.nodes().back();
  REQUIRE(node.op().is_cheap());
  CHECK(test::relative_difference(node.op().recompute(ctx, node), y) == 0);
}

TEST_CASE("the Mamba-3 gate refuses what does not fit", "[ops]") {
  Context ctx(Device{});
  const Tensor o = normal({1, 2, 4, 3, 5}, 1);
  const Tensor z = normal({1, 2, 3, 5}, 2);
  const Tensor weight = normal({3, 4, 5}, 3);
  CHECK_THROWS_WITH(mamba3_gate(ctx, z, z, {}, {}),
                    "shape mismatch in mamba3_gate: o [1,2,3,5]; expected [B,T,R,H,P]");
  CHECK_THROWS_WITH(mamba3_gate(ctx, o, weight, {}, {}),
                    "shape mismatch in mamba3_gate: z [3,4,5] against o [1,2,4,3,5]; expected z to "
                    "be [1,2,3,5]");
  CHECK_THROWS_WITH(mamba3_gate(ctx, o, ctx.zeros(z.shape(), DType::kF32), {}, {}),
                    "mamba3_gate: z is f32; expected the dtype of o, f64");
  CHECK_THROWS_WITH(mamba3_gate(ctx, o, z, weight, z),
                    "shape mismatch in mamba3_gate: mimo_o [1,2,3,5] against o [1,2,4,3,5]; "
                    "expected [3,4,5]");
  CHECK_THROWS_WITH(mamba3_gate(ctx, o, z, ctx.zeros(weight.shape(), DType::kF32), {}),
                    "mamba3_gate: mimo_z is f32; expected the dtype of o, f64");
}

}  // namespace
}  // namespace ghost
