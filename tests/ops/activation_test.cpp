#include "ops/activation.h"

#include <cmath>
#include <limits>

#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;
using test::tensor_of;
using test::values_of;

using Function = Tensor (*)(Context&, const Tensor&);

const Function kFunctions[] = {
    [](Context& ctx, const Tensor& x) { return gelu(ctx, x, GeluForm::kErf); },
    [](Context& ctx, const Tensor& x) { return gelu(ctx, x, GeluForm::kTanh); },
    [](Context& ctx, const Tensor& x) { return silu(ctx, x); },
};

TEST_CASE("gelu and silu satisfy the op contract", "[ops]") {
  for (const Function function : kFunctions) {
    for (const Shape& shape : {Shape{1}, Shape{3, 33}, Shape{2, 3, 19}}) {
      test::check_op({.inputs = {{normal(shape, 1)}},
                      .run = [&](Context& ctx, const Tensors& in) { return function(ctx, in[0]); },
                      .f32_tolerance = 1e-6});
    }
  }
}

// x Phi(x) with Phi(1) = 0.8413447460685429; the tanh form and silu from their formulas.
TEST_CASE("gelu and silu take known values", "[ops]") {
  Context ctx(Device{});
  const Tensor x = tensor_of({3}, {-1, 0, 1});
  const auto exact = values_of(gelu(ctx, x, GeluForm::kErf));
  CHECK(exact[0] == Approx(-0.15865525393145707).epsilon(1e-14));
  CHECK(exact[1] == 0);
  CHECK(exact[2] == Approx(0.8413447460685429).epsilon(1e-14));
  const auto approximate = values_of(gelu(ctx, x, GeluForm::kTanh));
  CHECK(approximate[2] == Approx(0.8411919906082768).epsilon(1e-14));
  const auto swish = values_of(silu(ctx, x));
  CHECK(swish[0] == Approx(-0.2689414213699951).epsilon(1e-14));
  CHECK(swish[2] == Approx(0.7310585786300049).epsilon(1e-14));
}

// Enough elements for every lane, the remainder loop and several threads.
TEST_CASE("gelu and silu in f32 follow f64 from tail to tail", "[ops]") {
  Context ctx(Device{});
  constexpr std::int64_t kCount = 20011;
  const Tensor x = ctx.empty({kCount}, DType::kF32);
  const Tensor wide = ctx.empty({kCount}, DType::kF64);
  for (std::int64_t i = 0; i < kCount; ++i) {
    x.data<float>()[i] = static_cast<float>(i - kCount / 2) * 2e-3F;
  }
  cast(wide, x);
  for (const Function function : kFunctions) {
    const auto single = values_of(function(ctx, x));
    const auto exact = values_of(function(ctx, wide));
    double largest = 0;
    for (std::size_t i = 0; i < single.size(); ++i) {
      largest =
          std::max(largest, std::abs(single[i] - exact[i]) / std::max(1.0, std::abs(exact[i])));
    }
    CHECK(largest <= 1e-6);
  }
}

TEST_CASE("gelu and silu hand NaN on", "[ops]") {
  Context ctx(Device{});
  const Tensor x = ctx.empty({37}, DType::kF32);
  fill(x, std::numeric_limits<double>::quiet_NaN());
  for (const Function function : kFunctions) {
    for (const double y : values_of(function(ctx, x))) {
      CHECK(std::isnan(y));
    }
  }
}

TEST_CASE("gelu and silu make their output again from x", "[ops]") {
  Context ctx(Device{});
  for (const Function function : kFunctions) {
    Tape tape;
    const Tensor x = tape.watch(normal({3, 5}, 1));
    const Context::Recording recording(ctx, &tape);
    const Tensor y = function(ctx, x);
    const Node& node = tape.nodes().back();
    REQUIRE(node.op().is_cheap());
    CHECK(test::relative_difference(node.op().recompute(ctx, node), y) == 0);
  }
}

}  // namespace
}  // namespace ghost
