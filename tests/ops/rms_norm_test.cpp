#include "ops/rms_norm.h"

#include <algorithm>
#include <cmath>

#include "engine/tensor/primitives.h"
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
        return rms_norm(ctx, in, weights[0], 1e-12);
      },
      x, {normal({64}, 2)}, keep, basis);
}

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

TEST_CASE("rms_norm kept in integers comes close", "[ops]") {
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
    CHECK(passed.residual_bytes == (keep == Keep::kInt8 ? 6 * 64 : 6 * 32) + 3 * 4 + 6 * 8);
  }
}

// Tokens of unlike size share a group of elements; the normalised ones are all alike.
TEST_CASE("rms_norm in integers does not see the size of x", "[ops]") {
  const Tensor x = normal({4, 64}, 1);
  const Tensor scaled = normal({4, 64}, 1);
  for (std::int64_t i = 0; i < 4 * 64; ++i) {
    scaled.data<double>()[i] *= i < 64 ? 1024 : 1;
  }
  for (const Keep keep : {Keep::kInt8, Keep::kInt4}) {
    const NormPass large = pass(scaled, keep);
    const NormPass plain = pass(x, keep);
    CHECK(largest_difference(large.again, plain.again) < 1e-9);
    CHECK(largest_difference(large.dweights, plain.dweights) < 1e-9);
  }
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

TEST_CASE("rms_norm reads an f32 residual stream and writes bf16", "[ops]") {
  Context ctx(Device{});
  const auto as = [&](const Tensor& x, DType dtype) {
    Tensor out = ctx.empty(x.shape(), dtype);
    cast(out, x);
    return out;
  };
  Tape tape;
  const Tensor x = tape.watch(as(normal({2, 3, 33}, 1), DType::kF32));
  const Tensor gain = tape.watch(as(normal({33}, 2), DType::kBF16));
  const Tensor wide_x = tape.watch(x.detach());
  const Tensor wide_gain = tape.watch(as(gain, DType::kF32));
  const Context::Recording recording(ctx, &tape);
  const Tensor y = rms_norm(ctx, x, gain, 1e-5);
  const Node& node = tape.nodes().back();
  REQUIRE(y.dtype() == DType::kBF16);
  CHECK(test::values_of(node.op().recompute(ctx, node)) == test::values_of(y));
  const Tensor wide = rms_norm(ctx, wide_x, wide_gain, 1e-5);
  CHECK(test::values_of(y) == test::values_of(as(wide, DType::kBF16)));

  const auto pull = [&](const Tensor& of, const Tensor& dy, const Tensors& inputs) {
    return tape.vjp(ctx, std::span(&of, 1), std::span(&dy, 1), inputs);
  };
  const Tensor dy = as(normal({1, 2, 3, 33}, 3), DType::kBF16);
  const Tensors narrow = pull(y, dy, {x, gain});
  const Tensors expected = pull(wide, as(dy, DType::kF32), {wide_x, wide_gain});
  CHECK(narrow[0].dtype() == DType::kF32);
  CHECK(test::values_of(narrow[0]) == test::values_of(expected[0]));
  CHECK(narrow[1].dtype() == DType::kF32);  // gradients of weights are
  CHECK(test::values_of(narrow[1]) == test::values_of(expected[1]));
  const Tensor many = as(normal({3, 2, 3, 33}, 4), DType::kBF16);
  CHECK(test::values_of(pull(y, many, {x})[0]) ==
        test::values_of(pull(wide, as(many, DType::kF32), {wide_x})[0]));
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
