#include "ops/rope.h"

#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;
using test::values_of;

TEST_CASE("rope satisfies the op contract", "[ops]") {
  for (const RopePairs pairs : {RopePairs::kInterleaved, RopePairs::kHalves}) {
    for (const double fraction : {1.0, 0.5}) {
      const RopeOptions options{.heads = 3,
                                .head_dim = 8,
                                .rotated_heads = 2,
                                .fraction = fraction,
                                .start = 5,
                                .pairs = pairs};
      for (const Shape& shape : {Shape{2, 3, 24}, Shape{1, 2, 3, 8}}) {
        test::check_op(
            {.inputs = {{normal(shape, 1)}},
             .run = [&](Context& ctx, const Tensors& in) { return rope(ctx, in[0], options); }});
      }
    }
  }
}

TEST_CASE("rope turns pair i at position t by t * base^(-2i/d)", "[ops]") {
  Context ctx(Device{});
  const Tensor x = test::tensor_of({1, 1, 4}, {1, 0, 0, 1});
  RopeOptions options{.heads = 1,
                      .head_dim = 4,
                      .rotated_heads = 1,
                      .base = 100,
                      .start = 3,
                      .pairs = RopePairs::kInterleaved};
  auto y = values_of(rope(ctx, x, options));  // (1, 0) by 3 and (0, 1) by 0.3
  CHECK(y[0] == Approx(std::cos(3.0)));
  CHECK(y[1] == Approx(std::sin(3.0)));
  CHECK(y[2] == Approx(-std::sin(0.3)));
  CHECK(y[3] == Approx(std::cos(0.3)));
  options.pairs = RopePairs::kHalves;
  y = values_of(rope(ctx, x, options));  // (1, 0) = channels 0 and 2, (0, 1) = channels 1 and 3
  CHECK(y[0] == Approx(std::cos(3.0)));
  CHECK(y[2] == Approx(std::sin(3.0)));
  CHECK(y[1] == Approx(-std::sin(0.3)));
  CHECK(y[3] == Approx(std::cos(0.3)));
}

TEST_CASE("rope keeps norms and leaves other heads and channels alone", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({1, 4, 3 * 8}, 1);
  const RopeOptions options{.heads = 3, .head_dim = 8, .rotated_heads = 2, .fraction = 0.75};
  const auto before = values_of(x);
  const auto after = values_of(rope(ctx, x, options));
  for (std::size_t head = 0; head < 4 * 3; ++head) {
    double norm_before = 0;
    double norm_after = 0;
    for (std::size_t c = 0; c < 8; ++c) {
      const std::size_t i = head * 8 + c;
      norm_before += before[i] * before[i];
      norm_after += after[i] * after[i];
      if (head % 3 == 2 || c >= 6) {
        CHECK(after[i] == before[i]);
      }
    }
    CHECK(norm_after == Approx(norm_before).epsilon(1e-12));
  }
}

TEST_CASE("rope makes scores depend on relative positions only", "[ops]") {
  Context ctx(Device{});
  const Tensor q = normal({1, 1, 16}, 1);
  const Tensor k = normal({1, 1, 16}, 2);
  const auto score = [&](std::int64_t q_position, std::int64_t k_position, RopePairs pairs) {
    RopeOptions options{.heads = 1, .head_dim = 16, .rotated_heads = 1, .pairs = pairs};
    options.start = q_position;
    const auto a = values_of(rope(ctx, q, options));
    options.start = k_position;
    const auto b = values_of(rope(ctx, k, options));
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      sum += a[i] * b[i];
    }
    return sum;
  };
  for (const RopePairs pairs : {RopePairs::kInterleaved, RopePairs::kHalves}) {
    CHECK(score(1007, 1004, pairs) == Approx(score(3, 0, pairs)).epsilon(1e-10));
    CHECK(score(4, 0, pairs) != Approx(score(3, 0, pairs)).epsilon(1e-3));
  }
}

TEST_CASE("rope refuses options that do not fit", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({1, 2, 24}, 1);
  CHECK_THROWS_WITH(rope(ctx, x, {.heads = 2, .head_dim = 8, .rotated_heads = 1}),
                    "shape mismatch in rope: x [1,2,24] against 2 heads of 8; expected "
                    "[B,T,heads*head_dim] or [B,T,heads,head_dim]");
  CHECK_THROWS_WITH(rope(ctx, x, {.heads = 3, .head_dim = 8, .rotated_heads = 4}),
                    "rope: rotated_heads is 4; expected 1 to 3");
  CHECK_THROWS_WITH(
      rope(ctx, x, {.heads = 3, .head_dim = 8, .rotated_heads = 2, .fraction = 0.4}),
      "rope: fraction 0.4 of head_dim 8 is 3 channels; expected an even number in 2 to head_dim");
  CHECK_THROWS_WITH(rope(ctx, x, {.heads = 3, .head_dim = 8, .rotated_heads = 2, .base = 0}),
                    "rope: base is 0; expected a positive number");
}

}  // namespace
}  // namespace ghost
