// The ops of sequence mixers and of regions at sizes that take the other paths of their kernels on
// a GPU: several blocks, runs and parts, 16-byte accesses and single elements. Small sizes are in
// the tests of the ops.

#include <array>

#include "engine/tensor/primitives.h"
#include "ops/causal_conv1d.h"
#include "ops/gated_add.h"
#include "ops/gated_rms_norm.h"
#include "ops/mamba3_decay.h"
#include "ops/mamba3_gate.h"
#include "ops/position_ranges.h"
#include "ops/split.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::InputKind;
using test::normal;

TEST_CASE("causal_conv1d on a GPU equals the CPU's at all sizes", "[ops][cuda]") {
  struct Size {
    Shape x;
    std::int64_t taps;
  };
  for (const Size& size : {Size{{1, 1, 1}, 4}, Size{{2, 15, 33}, 2}, Size{{3, 17, 132}, 4},
                           Size{{2, 300, 264}, 4}, Size{{2, 37, 130}, 3}, Size{{1, 5, 8}, 4},
                           Size{{2, 40, 36}, 5}, Size{{1, 33, 7}, 16}, Size{{2, 64, 128}, 1}}) {
    INFO("x is " << size.x.text() << ", taps " << size.taps);
    const std::int64_t channels = size.x.back();
    const Tensor x = normal(size.x, 1);
    const Tensor weight = normal({channels, size.taps}, 2);
    const Tensor bias = normal({channels}, 3);
    for (const ConvActivation activation : {ConvActivation::kNone, ConvActivation::kSilu}) {
      test::check_twins({.inputs = {{x}, {weight, InputKind::kWeight}, {bias, InputKind::kWeight}},
                         .run = [&](Context& ctx, const Tensors& in) {
                           return causal_conv1d(ctx, in[0], in[1], in[2], activation);
                         }});
    }
    if (size.taps > 1) {
      const Tensor state = normal({size.x[0], size.taps - 1, channels}, 4);
      test::check_twins({.inputs = {{x}, {weight, InputKind::kWeight}, {}, {state}},
                         .run = [&](Context& ctx, const Tensors& in) {
                           return causal_conv1d(ctx, in[0], in[1], in[2], ConvActivation::kSilu,
                                                in[3]);
                         }});
    }
  }
}

TEST_CASE("causal_conv1d in pieces on a GPU equals the whole sequence", "[ops][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    Context cpu(Device{});
    Context ctx(test::shared_allocator(device));
    const auto cast = [&](Context& on, const Tensor& x) {
      Tensor out = on.empty(x.shape(), DType::kF32);
      Tensor single = cpu.empty(x.shape(), DType::kF32);
      ghost::cast(single, x);
      copy(out, single);
      return out;
    };
    const Tensor x = normal({1, 9, 5}, 1);
    const Tensor weight = cast(ctx, normal({5, 4}, 2));
    const auto whole =
        test::values_of(causal_conv1d(ctx, cast(ctx, x), weight, {}, ConvActivation::kSilu));
    std::vector<double> pieces;
    Tensor state;
    std::int64_t begin = 0;
    for (const std::int64_t length : {2, 1, 5, 1}) {
      const Tensor part =
          cast(ctx, x.reshape({9, 5}).slice(begin, begin + length).reshape({1, length, 5}));
      for (const double value :
           test::values_of(causal_conv1d(ctx, part, weight, {}, ConvActivation::kSilu, state))) {
        pieces.push_back(value);
      }
      state = causal_conv1d_state(ctx, part, 4, state);
      begin += length;
    }
    CHECK(pieces == whole);
    CHECK_THROWS_WITH(
        causal_conv1d(ctx, cast(ctx, x), cast(ctx, normal({5, 17}, 2)), {}, ConvActivation::kNone),
        "causal_conv1d: 17 taps; expected 16 at most on a GPU");
  }
}

TEST_CASE("gated_rms_norm on a GPU equals the CPU's at all widths", "[ops][cuda]") {
  struct Size {
    Shape x;
    std::int64_t group_size;
  };
  for (const Size& size :
       {Size{{1, 1}, 1}, Size{{7, 33}, 11}, Size{{300, 768}, 0}, Size{{700, 256}, 64},
        Size{{5, 1602}, 801}, Size{{9, 4096}, 0}, Size{{40, 4096}, 512}, Size{{3, 8192}, 0}}) {
    INFO("x is " << size.x.text() << ", groups of " << size.group_size);
    for (const GateOrder order : {GateOrder::kGateThenNorm, GateOrder::kNormThenGate}) {
      const GatedRmsNormConfig config{.order = order, .group_size = size.group_size, .eps = 0.1};
      test::check_twins({.inputs = {{normal(size.x, 1)},
                                    {normal(size.x, 2)},
                                    {normal({size.x.back()}, 3), InputKind::kWeight}},
                         .run = [&](Context& ctx, const Tensors& in) {
                           return gated_rms_norm(ctx, in[0], in[1], in[2], config);
                         }});
    }
    test::check_twins(
        {.inputs = {{normal(size.x, 1)}, {}, {normal({size.x.back()}, 3), InputKind::kWeight}},
         .run = [&](Context& ctx, const Tensors& in) {
           return gated_rms_norm(ctx, in[0], in[1], in[2],
                                 {.group_size = size.group_size, .eps = 0.1});
         }});
  }
}

TEST_CASE("gated_add and split on a GPU equal the CPU's at all widths", "[ops][cuda]") {
  for (const Shape& shape : {Shape{7, 33}, Shape{300, 768}, Shape{5, 1601}}) {
    INFO("x is " << shape.text());
    test::check_twins(
        {.inputs = {{normal(shape, 1)},
                    {normal(shape, 2)},
                    {test::tensor_of({1}, {0.5}), InputKind::kWeight}},
         .run = [](Context& ctx, const Tensors& in) { return gated_add(ctx, in[0], in[1], in[2]); },
         // The gradient of the gate is one sum over all elements.
         .bf16_tolerance = 6e-2});
  }
  // Units of 16, 8, 4 and 2 bytes.
  for (const auto& widths :
       {std::array<std::int64_t, 3>{512, 1024, 64}, std::array<std::int64_t, 3>{4, 12, 2048},
        std::array<std::int64_t, 3>{2, 30, 6}, std::array<std::int64_t, 3>{1, 300, 3}}) {
    for (std::size_t part = 0; part < widths.size(); ++part) {
      INFO("part " << part << " of width " << widths[part]);
      test::check_twins({.inputs = {{normal({3, 70, widths[0] + widths[1] + widths[2]}, 1)}},
                         .run = [&](Context& ctx, const Tensors& in) {
                           return split(ctx, in[0], widths)[part];
                         }});
    }
  }
}

TEST_CASE("decays and gates of Mamba-3 on a GPU equal the CPU's at all sizes", "[ops][cuda]") {
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{2, 300, 24}, Shape{3, 33, 65}}) {
    INFO("dd_dt is " << shape.text());
    for (const bool is_step : {true, false}) {
      test::check_twins({.inputs = {{normal(shape, 1)},
                                    {normal(shape, 2)},
                                    {normal({shape.back()}, 3), InputKind::kWeight,
                                     /*is_precise=*/true}},
                         .run = [&](Context& ctx, const Tensors& in) {
                           const Mamba3Decay out = mamba3_decay(ctx, in[0], in[1], in[2]);
                           return is_step ? out.dt : out.a;
                         }});
    }
  }
  for (const Shape& o : {Shape{1, 2, 1, 1, 1}, Shape{2, 150, 4, 6, 64}, Shape{2, 40, 2, 5, 24},
                         Shape{1, 70, 3, 4, 9}}) {
    INFO("o is " << o.text());
    const Shape scale{o[3], o[2], o[4]};
    const std::vector<test::OpInput> inputs = {{normal(o, 1)},
                                               {normal({o[0], o[1], o[3], o[4]}, 2)},
                                               {normal(scale, 3), InputKind::kWeight},
                                               {normal(scale, 4), InputKind::kWeight}};
    const auto run = [](Context& ctx, const Tensors& in) {
      return mamba3_gate(ctx, in[0], in[1], in[2], in[3]);
    };
    test::check_twins({.inputs = inputs, .run = run});
    test::check_twins({.inputs = {inputs[0], inputs[1], {}, inputs[3]}, .run = run});
  }
}

TEST_CASE("ranges of positions on a GPU equal the CPU's, few and many", "[ops][cuda]") {
  PositionRanges many;  // of more than one launch, some of them overlapping
  for (std::int64_t i = 0; i < 150; ++i) {
    many.push_back({i, i + 1 + i % 7});
  }
  for (const PositionRanges& ranges : {PositionRanges{{0, 160}, {3, 50}}, many}) {
    for (const std::int64_t channels : {1, 33, 264, 768}) {
      INFO(ranges.size() << " ranges, channels " << channels);
      const auto slots = static_cast<std::int64_t>(ranges.size());
      test::check_twins({.inputs = {{normal({2, 160, channels}, 1)}},
                         .run = [&](Context& ctx, const Tensors& in) {
                           return mean_over_positions(ctx, in[0], ranges);
                         }});
      test::check_twins(
          {.inputs = {{normal({2, 160, channels}, 1)}, {normal({2, slots, channels}, 2)}},
           .run = [&](Context& ctx, const Tensors& in) {
             return add_to_positions(ctx, in[0], in[1], ranges);
           }});
    }
  }
}

}  // namespace
}  // namespace ghost
