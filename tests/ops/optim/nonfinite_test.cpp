#include "ops/optim/nonfinite.h"

#include <cmath>
#include <limits>

#include "engine/autograd/context.h"
#include "tests/ops/optim/small_store.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

TEST_CASE("first_nonfinite names the first offending element", "[optim]") {
  Context ctx(Device{});
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    test::SmallStore small(ctx, dtype, 5);
    small.draw_gradients(1);
    CHECK_FALSE(first_nonfinite(small.store, ParameterPart::kValues));
    CHECK_FALSE(first_nonfinite(small.store, ParameterPart::kGrads));

    visit_real(dtype, [&]<typename T>() {
      small.store.find("weight")->value.data<T>()[3] = -std::numeric_limits<T>::infinity();
      small.store.find("bias")->grad.data<T>()[1] = std::numeric_limits<T>::quiet_NaN();
    });
    const auto value = first_nonfinite(small.store, ParameterPart::kValues);
    REQUIRE(value);
    CHECK(value->parameter == "weight");
    CHECK(value->index == 3);
    CHECK(value->value == -std::numeric_limits<double>::infinity());
    const auto grad = first_nonfinite(small.store, ParameterPart::kGrads);
    REQUIRE(grad);
    CHECK(grad->parameter == "bias");
    CHECK(grad->index == 1);
    CHECK(std::isnan(grad->value));
  }
}

TEST_CASE("first_nonfinite finds nothing on a dry device", "[optim]") {
  Context ctx(Device{.is_dry = true});
  ParameterStore store;
  store.declare("p", {2}, Decay::kNo, {});
  store.materialize(ctx.allocator(), DType::kF32);
  CHECK_FALSE(first_nonfinite(store, ParameterPart::kValues));
}

}  // namespace
}  // namespace ghost
