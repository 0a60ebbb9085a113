#include "ops/split.h"

#include <array>

#include "ops/arithmetic.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;

constexpr std::array<std::int64_t, 3> kWidths{2, 5, 2};

TEST_CASE("split satisfies the op contract", "[ops]") {
  // The part in the middle gets no cotangent in one, all in the other.
  test::check_op({.inputs = {{normal({2, 3, 9}, 1)}}, .run = [](Context& ctx, const Tensors& in) {
                    const Tensors parts = split(ctx, in[0], kWidths);
                    return add(ctx, mul_scalar(ctx, parts[0], 3), parts[2]);
                  }});
  test::check_op({.inputs = {{normal({4, 9}, 2)}}, .run = [](Context& ctx, const Tensors& in) {
                    return split(ctx, in[0], kWidths)[1];
                  }});
}

TEST_CASE("split hands out consecutive columns", "[ops]") {
  Context ctx(Device{});
  const Tensor x = test::tensor_of({2, 4}, {0, 1, 2, 3, 4, 5, 6, 7});
  const Tensors parts = split(ctx, x, std::array<std::int64_t, 2>{1, 3});
  CHECK(parts[0].shape() == Shape{2, 1});
  CHECK(test::values_of(parts[0]) == std::vector<double>{0, 4});
  CHECK(test::values_of(parts[1]) == std::vector<double>{1, 2, 3, 5, 6, 7});
}

TEST_CASE("split refuses widths that do not add up", "[ops]") {
  Context ctx(Device{});
  CHECK_THROWS_WITH(split(ctx, normal({2, 8}, 1), kWidths),
                    "split: x [2,8] into parts of [2,5,2]; expected positive widths that add up "
                    "to 8");
  CHECK_THROWS_WITH(split(ctx, normal({2, 8}, 1), std::array<std::int64_t, 2>{9, -1}),
                    "split: x [2,8] into parts of [9,-1]; expected positive widths that add up "
                    "to 8");
}

}  // namespace
}  // namespace ghost
