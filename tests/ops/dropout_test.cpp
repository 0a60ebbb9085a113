#include "ops/dropout.h"

#include <algorithm>
#include <cmath>

#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;
using test::values_of;

Tensor ones(Context& ctx, std::int64_t n) {
  const Tensor x = ctx.empty({n}, DType::kF32);
  fill(x, 1);
  return x;
}

TEST_CASE("dropout satisfies the op contract", "[ops]") {
  for (const Shape& shape : {Shape{1}, Shape{3, 33}, Shape{2, 3, 19}}) {
    test::check_op({.inputs = {{normal(shape, 1)}}, .run = [](Context& ctx, const Tensors& in) {
                      return dropout(ctx, in[0], 0.3);
                    }});
  }
}

TEST_CASE("dropout drops the share that rate says and keeps the mean", "[ops]") {
  Context ctx(Device{});
  constexpr std::int64_t kCount = 100000;
  for (const double rate : {0.1, 0.5, 0.9}) {
    const auto y = values_of(dropout(ctx, ones(ctx, kCount), rate));
    const auto dropped = static_cast<double>(std::count(y.begin(), y.end(), 0.0));
    const double deviation = std::sqrt(kCount * rate * (1 - rate));
    CHECK(std::abs(dropped - kCount * rate) <= 4 * deviation);
    const double kept = 1 / (1 - rate);
    CHECK(std::all_of(y.begin(), y.end(), [&](double value) {
      return value == 0 || std::abs(value - kept) <= 1e-6 * kept;
    }));
  }
}

TEST_CASE("dropout draws by seed, step and site, not by what ran before", "[ops]") {
  Context ctx(Device{});
  const auto draw = [&](std::int64_t step, std::int64_t site) {
    ctx.begin_pass(/*seed=*/7, step);
    ctx.set_site(site);
    return values_of(dropout(ctx, ones(ctx, 1000), 0.5));
  };
  const auto first = draw(0, 0);
  CHECK(draw(0, 1) != first);
  CHECK(draw(1, 0) != first);
  CHECK(draw(0, 0) == first);
}

// Element i takes word i % 4 of counter i / 4, in every piece of the tensor.
TEST_CASE("dropout follows the words of its stream", "[ops]") {
  Context ctx(Device{});
  ctx.begin_pass(/*seed=*/1234567890123, /*step=*/5000000000, /*micro_step=*/3, /*rank=*/2);
  ctx.set_site(11);
  const RandomStream stream = ctx.next_stream(Purpose::kDropout);
  ctx.set_site(11);
  const auto y = values_of(dropout(ctx, ones(ctx, 5003), 0.25));
  for (std::size_t i = 0; i < y.size(); ++i) {
    const float u = uniform_from(stream.words(static_cast<std::uint32_t>(i / 4))[i % 4]);
    REQUIRE((y[i] != 0) == (u >= 0.25F));
  }
}

TEST_CASE("dropout gives x itself where nothing is dropped", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({4}, 1);
  CHECK(dropout(ctx, x, 0).storage() == x.storage());
  ctx.set_training(false);
  CHECK(dropout(ctx, x, 0.5).storage() == x.storage());
  CHECK(ctx.site() == 0);
}

TEST_CASE("dropout refuses rates outside [0, 1)", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({4}, 1);
  CHECK_THROWS_WITH(dropout(ctx, x, 1), "dropout: rate is 1; expected 0 <= rate < 1");
  CHECK_THROWS_WITH(dropout(ctx, x, -0.1), "dropout: rate is -0.1; expected 0 <= rate < 1");
}

}  // namespace
}  // namespace ghost
