#include "ops/cross_entropy.h"

#include <cmath>

#include "engine/core/error.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

TEST_CASE("cross_entropy satisfies the op contract", "[ops]") {
  for (const Shape& shape : {Shape{1, 2}, Shape{7, 10}, Shape{2, 3, 5}}) {
    const std::int64_t rows = shape.numel() / shape.back();
    const Tensor targets = test::integers({rows}, shape.back(), 2);
    test::check_op(
        {.inputs = {{test::normal(shape, 1)}, {targets, test::InputKind::kConstant}},
         .run = [](Context& ctx, const Tensors& in) { return cross_entropy(ctx, in[0], in[1]); },
         .f32_tolerance = 1e-6,
         .has_cuda_twin = false,
         .has_bf16 = false});
  }
}

TEST_CASE("cross_entropy takes known values", "[ops]") {
  Context ctx(Device{});
  const Tensor equal = test::tensor_of({2, 4}, {0, 0, 0, 0, 500, 500, 500, 500});
  CHECK(test::values_of(cross_entropy(ctx, equal, test::tokens_of({2}, {1, 3})))[0] ==
        Approx(std::log(4.0)));
  const Tensor sure = test::tensor_of({1, 2}, {std::log(3.0), 0});
  CHECK(test::values_of(cross_entropy(ctx, sure, test::tokens_of({1}, {0})))[0] ==
        Approx(std::log(4.0 / 3)));
}

TEST_CASE("cross_entropy refuses what does not fit", "[ops]") {
  Context ctx(Device{});
  const Tensor logits = test::normal({3, 4}, 1);
  CHECK_THROWS_WITH(cross_entropy(ctx, logits, test::tokens_of({2}, {0, 1})),
                    "shape mismatch in cross_entropy: logits [3,4] against targets [2]; expected "
                    "a target a row");
  CHECK_THROWS_WITH(cross_entropy(ctx, logits, test::tokens_of({3}, {0, 4, 1})),
                    "cross_entropy: target 4; expected 0 to 3");
}

}  // namespace
}  // namespace ghost
