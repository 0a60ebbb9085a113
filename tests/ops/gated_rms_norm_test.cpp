#include "ops/gated_rms_norm.h"

#include "ops/activation.h"
#include "ops/rms_norm.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::InputKind;
using test::normal;
using test::values_of;

constexpr GateOrder kOrders[] = {GateOrder::kGateThenNorm, GateOrder::kNormThenGate};

TEST_CASE("gated_rms_norm satisfies the op contract", "[ops]") {
  for (const GateOrder order : kOrders) {
    for (const std::int64_t group_size : {0, 1, 3, 9}) {
      for (const Shape& shape : {Shape{3, 18}, Shape{2, 3, 9}}) {
        // A small eps would make groups of one channel a step, which central differences cannot
        // see.
        const GatedRmsNormConfig config{.order = order, .group_size = group_size, .eps = 0.1};
        test::check_op({.inputs = {{normal(shape, 1)},
                                   {normal(shape, 2)},
                                   {normal({shape.back()}, 3), InputKind::kWeight}},
                        .run = [config](Context& ctx, const Tensors& in) {
                          return gated_rms_norm(ctx, in[0], in[1], in[2], config);
                        }});
      }
    }
  }
}

TEST_CASE("gated_rms_norm without a gate satisfies the op contract", "[ops]") {
  for (const std::int64_t group_size : {0, 3}) {
    test::check_op({.inputs = {{normal({2, 3, 9}, 1)}, {}, {normal({9}, 3), InputKind::kWeight}},
                    .run = [group_size](Context& ctx, const Tensors& in) {
                      return gated_rms_norm(ctx, in[0], in[1], in[2],
                                            {.group_size = group_size, .eps = 0.1});
                    }});
  }
}

TEST_CASE("gated_rms_norm without a gate is rms_norm in groups", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({4, 6}, 1);
  const Tensor gain = normal({6}, 3);
  const Tensor ones = test::tensor_of({3}, std::vector<double>(3, 1.0));
  const auto rows = values_of(rms_norm(ctx, x.reshape({8, 3}), ones, 1e-5));
  for (const GateOrder order : kOrders) {
    const auto whole = gated_rms_norm(ctx, x, {}, gain, {.order = order});
    CHECK(test::relative_difference(whole, rms_norm(ctx, x, gain, 1e-5)) < 1e-14);
    const auto groups =
        values_of(gated_rms_norm(ctx, x, {}, gain, {.order = order, .group_size = 3}));
    for (std::size_t i = 0; i < groups.size(); ++i) {
      CHECK(groups[i] == Approx(rows[i] * gain.data<double>()[i % 6]).margin(1e-14));
    }
  }
}

TEST_CASE("gated_rms_norm is silu and rms_norm in either order", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({4, 6}, 1);
  const Tensor z = normal({4, 6}, 2);
  const Tensor gain = normal({6}, 3);
  const auto gate = values_of(silu(ctx, z));
  const auto times_gate = [&](const Tensor& tensor) {
    auto product = values_of(tensor);
    for (std::size_t i = 0; i < product.size(); ++i) {
      product[i] *= gate[i];
    }
    return test::tensor_of({4, 6}, product);
  };
  const Tensor gated = gated_rms_norm(ctx, x, z, gain, {.order = GateOrder::kGateThenNorm});
  CHECK(test::relative_difference(gated, rms_norm(ctx, times_gate(x), gain, 1e-5)) < 1e-14);
  const Tensor normed = gated_rms_norm(ctx, x, z, gain, {.order = GateOrder::kNormThenGate});
  CHECK(test::relative_difference(normed, times_gate(rms_norm(ctx, x, gain, 1e-5))) < 1e-14);
}

TEST_CASE("gated_rms_norm normalizes groups on their own", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({5, 8}, 1);
  const Tensor z = normal({5, 8}, 2);
  const Tensor ones = test::tensor_of({8}, std::vector<double>(8, 1.0));
  const Tensor four = test::tensor_of({4}, std::vector<double>(4, 1.0));
  for (const GateOrder order : kOrders) {
    const Tensor grouped = gated_rms_norm(ctx, x, z, ones, {.order = order, .group_size = 4});
    const Tensor rows =
        gated_rms_norm(ctx, x.reshape({10, 4}), z.reshape({10, 4}), four, {.order = order});
    CHECK(values_of(grouped) == values_of(rows));
  }
}

TEST_CASE("gated_rms_norm makes its output again", "[ops]") {
  for (const GateOrder order : kOrders) {
    for (const bool is_gated : {true, false}) {
      Context ctx(Device{});
      Tape tape;
      const Tensor x = tape.watch(normal({3, 8}, 1));
      const Tensor z = is_gated ? normal({3, 8}, 2) : Tensor{};
      const Context::Recording recording(ctx, &tape);
      const Tensor y = gated_rms_norm(ctx, x, z, normal({8}, 3), {.order = order, .group_size = 2});
      const Node& node = tape.nodes().back();
      REQUIRE(node.op().is_cheap());
      CHECK(test::relative_difference(node.op().recompute(ctx, node), y) == 0);
    }
  }
}

TEST_CASE("gated_rms_norm refuses wrong shapes, groups, dtypes and eps", "[ops]") {
  Context ctx(Device{});
  const Tensor x = normal({2, 6}, 1);
  const Tensor gain = normal({6}, 1);
  CHECK_THROWS_WITH(
      gated_rms_norm(ctx, x, normal({2, 5}, 1), gain),
      "shape mismatch in gated_rms_norm: x [2,6] against z [2,5]; expected one shape");
  CHECK_THROWS_WITH(
      gated_rms_norm(ctx, x, x, normal({5}, 1)),
      "shape mismatch in gated_rms_norm: x [2,6] against gain [5]; expected gain to be [6]");
  CHECK_THROWS_WITH(gated_rms_norm(ctx, x, x, gain, {.group_size = 4}),
                    "gated_rms_norm: groups of 4 channels; expected a divisor of 6");
  CHECK_THROWS_WITH(gated_rms_norm(ctx, x, x, gain, {.eps = 0}),
                    "gated_rms_norm: eps is 0; expected a positive number");
  CHECK_THROWS_WITH(gated_rms_norm(ctx, x, x, ctx.zeros({6}, DType::kF32)),
                    "gated_rms_norm: z and gain must have the dtype of x, f64");
}

}  // namespace
}  // namespace ghost
