#include "ops/layer_norm.h"

#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::InputKind;
using test::normal;

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
