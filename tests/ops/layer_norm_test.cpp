#include "ops/layer_norm.h"

#include <algorithm>
#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/norm_pass.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::InputKind;
using test::largest_difference;
using test::normal;
using test::NormPass;

NormPass pass(const Tensor& x, Keep keep, std::int64_t basis = 1) {
  return test::pass_norm(
      [](Context& ctx, const Tensor& in, const Tensors& weights) {
        return layer_norm(ctx, in, weights[0], weights[1], 1e-12);
      },
      x, {normal({64}, 2), normal({64}, 3)}, keep, basis);
}

TEST_CASE("layer_norm satisfies the op contract", "[ops]") {
  for (const Shape& shape : {Shape{2, 3}, Shape{3, 33}, Shape{2, 3, 19}}) {
    for (const bool has_bias : {false, true}) {
      test::check_op(
          {.inputs = {{normal(shape, 1)},
                      {normal({shape.back()}, 2), InputKind::kWeight},
                      {has_bias ? normal({shape.back()}, 3) : Tensor{}, InputKind::kWeight}},
           .run = [](Context& ctx, const Tensors& in) {
             return layer_norm(ctx, in[0], in[1], in[2], 1e-5);
           }});
    }
  }
}

TEST_CASE("layer_norm gives rows of mean 0 and variance 1", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({4, 64}, 1);
  const Tensor ones = test::tensor_of({64}, std::vector<double>(64, 1.0));
  const auto y = test::values_of(layer_norm(ctx, x, ones, {}, 1e-12));
  for (std::size_t row = 0; row < 4; ++row) {
    double sum = 0;
    double sum_sq = 0;
    for (std::size_t c = 0; c < 64; ++c) {
      sum += y[row * 64 + c];
      sum_sq += y[row * 64 + c] * y[row * 64 + c];
    }
    CHECK(sum == Approx(0).margin(1e-10));
    CHECK(sum_sq / 64 == Approx(1).epsilon(1e-9));
  }
}

TEST_CASE("layer_norm kept in integers comes close", "[ops]") {
  const Tensor x = normal({2, 3, 64}, 1);
  const NormPass exact = pass(x, Keep::kExact);
  const NormPass exact_3 = pass(x, Keep::kExact, /*basis=*/3);
  const std::pair<Keep, double> kKeeps[] = {{Keep::kInt8, 0.05}, {Keep::kInt4, 0.9}};
  for (const auto& [keep, tolerance] : kKeeps) {
    INFO(enum_name(keep));
    const NormPass passed = pass(x, keep);
    CHECK(largest_difference(passed.again, exact.again) < 2 * tolerance);
    CHECK(largest_difference(passed.dx, exact.dx) < tolerance);
    CHECK(largest_difference(passed.dx, exact.dx) > tolerance / 100);
    CHECK(largest_difference(passed.dweights, exact.dweights) < 4 * tolerance);
    CHECK(largest_difference(pass(x, keep, 3).dx, exact_3.dx) < tolerance);
  }
}

// Codes, six scales of f32 and six rstd; the mean is not needed.
TEST_CASE("layer_norm kept in integers takes its bytes", "[ops]") {
  const Tensor x = normal({2, 3, 64}, 1);
  CHECK(pass(x, Keep::kExact).residual_bytes == 6 * 64 * 8 + 2 * 6 * 8);
  CHECK(pass(x, Keep::kInt8).residual_bytes == 6 * 64 + 3 * 4 + 6 * 8);
  CHECK(pass(x, Keep::kInt4).residual_bytes == 6 * 32 + 3 * 4 + 6 * 8);
}

// A residual stream with a large common part: its own integers would hold little else.
TEST_CASE("layer_norm in integers does not see the residual stream's mean", "[ops]") {
  const Tensor x = normal({4, 64}, 1);
  const Tensor shifted = normal({4, 64}, 1);
  for (double& value : shifted.span<double>()) {
    value += 1000;
  }
  for (const Keep keep : {Keep::kInt8, Keep::kInt4}) {
    CHECK(largest_difference(pass(shifted, keep).dx, pass(x, keep).dx) < 1e-9);
  }
}

TEST_CASE("layer_norm refuses wrong shapes", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({2, 4}, 1);
  CHECK_THROWS_WITH(
      layer_norm(ctx, x, normal({3}, 1), {}, 1e-5),
      "shape mismatch in layer_norm: x [2,4] against gain [3]; expected gain to be [4]");
  CHECK_THROWS_WITH(
      layer_norm(ctx, x, normal({4}, 1), normal({2}, 1), 1e-5),
      "shape mismatch in layer_norm: x [2,4] against bias [2]; expected bias to be [4]");
  CHECK_THROWS_WITH(layer_norm(ctx, x, normal({4}, 1), {}, 0),
                    "layer_norm: eps is 0; expected a positive number");
}

}  // namespace
}  // namespace ghost
