// Sizes that take the other paths of the kernels on a GPU: several blocks, several chunks of a row,
// 16-byte accesses and their tails. Small sizes are in the tests of the ops.

#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/dropout.h"
#include "ops/embedding.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"
#include "ops/mamba3_core.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/ssd.h"
#include "ops/sum.h"
#include "ops/swiglu.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/mamba3_inputs.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::InputKind;
using test::integers;
using test::normal;

// Widths about a multiple of the vector width, of a chunk and of a block.
const std::vector<Shape> kShapes = {{1, 1},     {7, 33},   {3, 257},  {300, 768},
                                    {700, 256}, {5, 1601}, {9, 4096}, {2, 8192}};

TEST_CASE("norms on a GPU equal the CPU's at all widths", "[ops][cuda]") {
  for (const Shape& shape : kShapes) {
    INFO("x is " << shape.text());
    const std::int64_t channels = shape.back();
    const std::vector<test::OpInput> inputs = {{normal(shape, 1)},
                                               {normal({channels}, 2), InputKind::kWeight},
                                               {normal({channels}, 3), InputKind::kWeight}};
    test::check_twins({.inputs = inputs, .run = [](Context& ctx, const Tensors& in) {
                         return layer_norm(ctx, in[0], in[1], in[2], 1e-5);
                       }});
    test::check_twins(
        {.inputs = {inputs[0], inputs[1]},
         .run = [](Context& ctx, const Tensors& in) { return rms_norm(ctx, in[0], in[1], 1e-5); }});
  }
}

TEST_CASE("element-wise ops on a GPU equal the CPU's at all widths", "[ops][cuda]") {
  for (const Shape& shape : kShapes) {
    INFO("x is " << shape.text());
    const auto check = [&](auto op) {
      test::check_twins({.inputs = {{normal(shape, 1)}},
                         .run = [&](Context& ctx, const Tensors& in) { return op(ctx, in[0]); }});
    };
    check([](Context& ctx, const Tensor& x) { return gelu(ctx, x, GeluForm::kErf); });
    check([](Context& ctx, const Tensor& x) { return gelu(ctx, x, GeluForm::kTanh); });
    check([](Context& ctx, const Tensor& x) { return silu(ctx, x); });
    check([](Context& ctx, const Tensor& x) { return dropout(ctx, x, 0.3); });
    check([](Context& ctx, const Tensor& x) { return mul_scalar(ctx, x, 1.7); });
    check([](Context& ctx, const Tensor& x) { return mean(ctx, x); });
    test::check_twins(
        {.inputs = {{normal(shape, 1)}, {normal(shape, 2)}},
         .run = [](Context& ctx, const Tensors& in) { return add(ctx, in[0], in[1]); }});
    test::check_twins({.inputs = {{normal(shape.with_last(2 * shape.back()), 1)}},
                       .run = [](Context& ctx, const Tensors& in) { return swiglu(ctx, in[0]); }});
  }
}

TEST_CASE("linear on a GPU equals the CPU's at odd and even sizes", "[ops][cuda]") {
  struct Size {
    std::int64_t rows;
    std::int64_t inputs;
    std::int64_t outputs;
  };
  for (const Size& size : {Size{1, 1, 1}, Size{33, 7, 5}, Size{257, 64, 96}, Size{3000, 48, 520},
                           Size{130, 768, 2304}}) {
    INFO("rows " << size.rows << ", inputs " << size.inputs << ", outputs " << size.outputs);
    test::check_twins(
        {.inputs = {{normal({size.rows, size.inputs}, 1)},
                    {normal({size.outputs, size.inputs}, 2), InputKind::kWeight},
                    {normal({size.outputs}, 3), InputKind::kWeight}},
         .run = [](Context& ctx, const Tensors& in) { return linear(ctx, in[0], in[1], in[2]); }});
  }
}

TEST_CASE("embeddings on a GPU equal the CPU's for rare and frequent tokens", "[ops][cuda]") {
  for (const std::int64_t vocab_size : {1, 65, 5000}) {
    for (const std::int64_t channels : {1, 33, 264, 768}) {
      INFO("vocab_size " << vocab_size << ", channels " << channels);
      test::check_twins(
          {.inputs = {{integers({4, 513}, vocab_size, 1), InputKind::kConstant},
                      {normal({vocab_size, channels}, 2), InputKind::kWeight}},
           .run = [](Context& ctx, const Tensors& in) { return embedding(ctx, in[0], in[1]); }});
    }
  }
  for (const std::int64_t channels : {1, 33, 264}) {
    test::check_twins({.inputs = {{normal({9, 20, channels}, 1)},
                                  {normal({24, channels}, 2), InputKind::kWeight}},
                       .run = [](Context& ctx, const Tensors& in) {
                         return position_embedding(ctx, in[0], in[1], 3);
                       }});
  }
}

TEST_CASE("rope on a GPU equals the CPU's in all forms", "[ops][cuda]") {
  for (const RopePairs pairs : {RopePairs::kHalves, RopePairs::kInterleaved}) {
    for (const std::int64_t head_dim : {2, 12, 64, 128}) {
      for (const double fraction : {1.0, 0.5}) {
        INFO("head_dim " << head_dim << ", fraction " << fraction);
        const RopeOptions options{.heads = 5,
                                  .head_dim = head_dim,
                                  .rotated_heads = 3,
                                  .fraction = head_dim == 2 ? 1.0 : fraction,
                                  .start = 1000,
                                  .pairs = pairs};
        test::check_twins(
            {.inputs = {{normal({3, 37, 5 * head_dim}, 1)}},
             .run = [&](Context& ctx, const Tensors& in) { return rope(ctx, in[0], options); }});
      }
    }
  }
}

// Several chunks, ragged ends, strips of more than a warp, sizes that GPUs like and others.
TEST_CASE("the core of Mamba-2 on a GPU equals the CPU's over chunks", "[ops][cuda]") {
  for (const SsdShape& shape : {SsdShape{.heads = 4, .head_dim = 64, .groups = 1, .state = 64},
                                SsdShape{.heads = 6, .head_dim = 24, .groups = 2, .state = 40}}) {
    for (const std::int64_t seq_len : {256, 301}) {
      INFO("head_dim " << shape.head_dim << ", T = " << seq_len);
      const SsdConfig config{.shape = shape, .chunk = 128};
      const Shape heads{shape.heads};
      test::check_twins(
          {.inputs = {{normal({2, seq_len, shape.packed_width()}, 1)},
                      {normal({2, seq_len, shape.heads}, 2)},
                      {normal(heads, 3), InputKind::kWeight, /*is_precise=*/true},
                      {normal(heads, 4), InputKind::kWeight, /*is_precise=*/true},
                      {normal(heads, 5), InputKind::kWeight, /*is_precise=*/true},
                      {.value = normal({2, shape.heads, shape.head_dim, shape.state}, 6),
                       .is_precise = true}},
           .run = [&](Context& ctx, const Tensors& in) {
             return ssd(ctx, in[0], in[1], {.a_log = in[2], .d = in[3], .dt_bias = in[4]}, config,
                        in[5])
                 .y;
           }});
    }
  }
}

TEST_CASE("the core of Mamba-3 on a GPU equals the CPU's over chunks", "[ops][cuda]") {
  for (const std::int64_t ranks : {1, 4}) {
    for (const std::int64_t seq_len : {192, 201}) {
      INFO("R = " << ranks << ", T = " << seq_len);
      const Mamba3CoreInput in = test::random_input({.batch = 2,
                                                     .seq_len = seq_len,
                                                     .ranks = ranks,
                                                     .groups = 2,
                                                     .heads = 4,
                                                     .head_dim = 64,
                                                     .state = 128,
                                                     .angles = 32});
      const RotaryPairing pairing = ranks == 1 ? RotaryPairing::kAdjacent : RotaryPairing::kHalves;
      test::check_twins({.inputs = test::to_list(in), .run = [&](Context& ctx, const Tensors& x) {
                           return mamba3_core(ctx, test::from_list(x), {.pairing = pairing}).o;
                         }});
    }
  }
}

}  // namespace
}  // namespace ghost
