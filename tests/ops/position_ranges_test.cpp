#include "ops/position_ranges.h"

#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;

TEST_CASE("means over positions satisfy the op contract", "[ops]") {
  for (const PositionRanges& ranges :
       {PositionRanges{{0, 7}}, PositionRanges{{2, 3}}, PositionRanges{{0, 3}, {2, 6}, {2, 3}}}) {
    test::check_op(
        {.inputs = {{normal({2, 7, 3}, 1)}}, .run = [&](Context& ctx, const Tensors& in) {
           return mean_over_positions(ctx, in[0], ranges);
         }});
  }
}

TEST_CASE("additions to positions satisfy the op contract", "[ops]") {
  for (const PositionRanges& ranges :
       {PositionRanges{{0, 7}, {3, 3}}, PositionRanges{{0, 4}, {2, 6}}}) {
    test::check_op({.inputs = {{normal({3, 7, 5}, 1)}, {normal({3, 2, 5}, 2)}},
                    .run = [&](Context& ctx, const Tensors& in) {
                      return add_to_positions(ctx, in[0], in[1], ranges);
                    }});
  }
}

TEST_CASE("ranges choose their positions", "[ops]") {
  Context ctx(Device{});
  const Tensor x = test::tensor_of({1, 4, 1}, {1, 2, 4, 8});
  CHECK(test::values_of(mean_over_positions(ctx, x, {{0, 4}, {1, 3}, {3, 4}})) ==
        std::vector<double>{3.75, 3, 8});
  const Tensor v = test::tensor_of({1, 2, 1}, {100, 1000});
  CHECK(test::values_of(add_to_positions(ctx, x, v, {{1, 3}, {2, 4}})) ==
        std::vector<double>{1, 102, 1104, 1008});
}

TEST_CASE("ranges that do not fit are refused", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({2, 4, 3}, 1);
  CHECK_THROWS_WITH(mean_over_positions(ctx, x.reshape({8, 3}), {{0, 1}}),
                    "mean_over_positions: x is [8,3]; expected [B,T,C]");
  CHECK_THROWS_WITH(mean_over_positions(ctx, x, {}),
                    "mean_over_positions: no range of positions; expected at least one");
  CHECK_THROWS_WITH(mean_over_positions(ctx, x, {{2, 2}}),
                    "mean_over_positions: positions 2 to 2 (exclusive); expected at least one in a "
                    "sequence of 4");
  CHECK_THROWS_WITH(add_to_positions(ctx, x, x, {{2, 5}}),
                    "add_to_positions: positions 2 to 5 (exclusive); expected a range in a "
                    "sequence of 4");
  CHECK_THROWS_WITH(add_to_positions(ctx, x, x, {{2, 4}}),
                    "shape mismatch in add_to_positions: x [2,4,3] against v [2,4,3] of f64; "
                    "expected v to be [2,1,3] of f64");
}

}  // namespace
}  // namespace ghost
