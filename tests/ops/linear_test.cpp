#include "ops/linear.h"

#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::InputKind;
using test::normal;

TEST_CASE("linear satisfies the op contract", "[ops]") {
  for (const bool has_bias : {false, true}) {
    test::check_op(
        {.inputs = {{normal({2, 5, 7}, 1)},
                    {normal({9, 7}, 2), InputKind::kWeight},
                    {has_bias ? normal({9}, 3) : Tensor{}, InputKind::kWeight}},
         .run = [](Context& ctx, const Tensors& in) { return linear(ctx, in[0], in[1], in[2]); }});
  }
}

TEST_CASE("linear keeps its input only when the weight learns", "[ops]") {
  Context ctx(Device{});
  Tape tape;
  const Tensor x = tape.watch(normal({4, 3}, 1));
  const Context::Recording recording(ctx, &tape);
  linear(ctx, x, normal({2, 3}, 2), {});
  REQUIRE(tape.nodes().size() == 2);
  const auto kept = tape.nodes().back().kept();
  REQUIRE(kept.size() == 1);
  CHECK(kept[0].name == "weight");
}

TEST_CASE("linear refuses wrong shapes", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({8, 64, 12}, 1);
  CHECK_THROWS_WITH(linear(ctx, x, normal({5, 13}, 1), {}),
                    "shape mismatch in linear: x [8,64,12] against weight [5,13]; expected the "
                    "last dimension of x to equal 13");
  CHECK_THROWS_WITH(
      linear(ctx, x, normal({5, 12}, 1), normal({12}, 1)),
      "shape mismatch in linear: weight [5,12] against bias [12]; expected bias to be [5]");
}

}  // namespace
}  // namespace ghost
