#include "ops/mamba3_decay.h"

#include <cmath>

#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::InputKind;
using test::normal;
using test::tensor_of;

TEST_CASE("steps and decays of Mamba-3 satisfy the op contract", "[ops]") {
  for (const DecayActivation activation :
       {DecayActivation::kSoftplus, DecayActivation::kHeavyTail}) {
    for (const bool is_step : {true, false}) {
      test::check_op({.inputs = {{normal({2, 5, 3}, 1)},
                                 {normal({2, 5, 3}, 2)},
                                 {normal({3}, 3), InputKind::kWeight, /*is_precise=*/true}},
                      .run = [=](Context& ctx, const Tensors& in) {
                        const Mamba3Decay out = mamba3_decay(
                            ctx, in[0], in[1], in[2], {.activation = activation, .floor = 0.4});
                        return is_step ? out.dt : out.a;
                      }});
    }
  }
}

TEST_CASE("steps of Mamba-3 keep their digits where they are small and large", "[ops]") {
  Context ctx(Device{});
  const Tensor x = tensor_of({1, 1, 3}, {-40, 0, 40});
  const Tensor bias = tensor_of({3}, {0, 0, 0});
  const Mamba3Decay out = mamba3_decay(ctx, x, x, bias, {.floor = 1e-4});
  CHECK(out.dt.data<double>()[0] == Approx(std::exp(-40.0)));
  CHECK(out.dt.data<double>()[1] == Approx(std::log(2.0)));
  CHECK(out.dt.data<double>()[2] == 40);
  CHECK(out.a.data<double>()[0] == Approx(-1e-4 * std::exp(-40.0)));
  CHECK(out.a.data<double>()[2] == -1600);
}

TEST_CASE("a heavy-tailed decay is 1 at 0 and falls like 1 / |x|", "[ops]") {
  Context ctx(Device{});
  const Tensor x = tensor_of({1, 1, 3}, {-99, 0, 2});
  const Tensor ones = tensor_of({1, 1, 3}, {40, 40, 40});
  const Mamba3Decay out = mamba3_decay(ctx, ones, x, tensor_of({3}, {0, 0, 0}),
                                       {.activation = DecayActivation::kHeavyTail});
  CHECK(out.a.data<double>()[0] == Approx(-0.01 * 40));
  CHECK(out.a.data<double>()[1] == -40);
  CHECK(out.a.data<double>()[2] == -120);
}

TEST_CASE("steps and decays of Mamba-3 refuse what does not fit", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({1, 2, 3}, 1);
  const Tensor bias = normal({3}, 2);
  CHECK_THROWS_WITH(mamba3_decay(ctx, x, x, bias, {.floor = -1}),
                    "mamba3_decay: floor is -1; expected 0 or more");
  CHECK_THROWS_WITH(
      mamba3_decay(ctx, x, bias, bias),
      "shape mismatch in mamba3_decay: dd_a [3] against dd_dt [1,2,3]; expected the same");
  CHECK_THROWS_WITH(
      mamba3_decay(ctx, x, x, x),
      "shape mismatch in mamba3_decay: dt_bias [1,2,3] against dd_dt [1,2,3]; expected [3]");
  CHECK_THROWS_WITH(mamba3_decay(ctx, x, ctx.zeros({1, 2, 3}, DType::kF32), bias),
                    "mamba3_decay: dd_a is f32; expected the dtype of dd_dt, f64");
  CHECK_THROWS_WITH(mamba3_decay(ctx, x, x, ctx.zeros({3}, DType::kF32)),
                    "mamba3_decay: dt_bias is f32; expected f64 where dd_dt is f64");
  const Tensor narrow = ctx.zeros({1, 2, 3}, DType::kBF16);
  CHECK_THROWS_WITH(mamba3_decay(ctx, narrow, narrow, ctx.zeros({3}, DType::kBF16)),
                    "mamba3_decay: dt_bias is bf16; expected f32 where dd_dt is bf16");
}

}  // namespace
}  // namespace ghost
