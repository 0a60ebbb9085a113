#include "ops/attention.h"

#include <cmath>

#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;
using test::values_of;

// The definition, with the whole score matrix.
std::vector<double> plain_attention(const Tensor& qkv, const AttentionShape& shape) {
  const std::int64_t batch = qkv.dim(0);
  const std::int64_t seq_len = qkv.dim(1);
  const std::int64_t width = shape.packed_width();
  const double* x = qkv.data<double>();
  std::vector<double> out;
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t t = 0; t < seq_len; ++t) {
      for (std::int64_t h = 0; h < shape.heads; ++h) {
        const std::int64_t kv = h / (shape.heads / shape.kv_heads);
        const auto at = [&](std::int64_t s, std::int64_t head, std::int64_t d) {
          return x[(b * seq_len + s) * width + head * shape.head_dim + d];
        };
        std::vector<double> weights;
        double sum = 0;
        for (std::int64_t s = 0; s <= t; ++s) {
          double dot = 0;
          for (std::int64_t d = 0; d < shape.head_dim; ++d) {
            dot += at(t, h, d) * at(s, shape.heads + kv, d);
          }
          weights.push_back(std::exp(dot / std::sqrt(static_cast<double>(shape.head_dim))));
          sum += weights.back();
        }
        for (std::int64_t d = 0; d < shape.head_dim; ++d) {
          double o = 0;
          for (std::int64_t s = 0; s <= t; ++s) {
            o += weights[static_cast<std::size_t>(s)] / sum *
                 at(s, shape.heads + shape.kv_heads + kv, d);
          }
          out.push_back(o);
        }
      }
    }
  }
  return out;
}

TEST_CASE("attention satisfies the op contract", "[ops]") {
  for (const AttentionShape& shape : {AttentionShape{.heads = 2, .kv_heads = 2, .head_dim = 3},
                                      AttentionShape{.heads = 4, .kv_heads = 2, .head_dim = 2},
                                      AttentionShape{.heads = 3, .kv_heads = 1, .head_dim = 1}}) {
    test::check_op(
        {.inputs = {{normal({2, 5, shape.packed_width()}, 1)}},
         .run = [shape](Context& ctx, const Tensors& in) { return attention(ctx, in[0], shape); }});
  }
}

TEST_CASE("attention satisfies the op contract across blocks", "[ops]") {
  const AttentionShape shape{.heads = 1, .kv_heads = 1, .head_dim = 1};
  test::check_op(
      {.inputs = {{normal({1, 130, 3}, 1)}},
       .run = [shape](Context& ctx, const Tensors& in) { return attention(ctx, in[0], shape); }});
}

TEST_CASE("attention equals its definition at odd lengths", "[ops]") {
  const AttentionShape shape{.heads = 4, .kv_heads = 2, .head_dim = 5};
  Context ctx(Device{});
  for (const std::int64_t seq_len : {1, 2, 127, 128, 129, 300}) {
    const Tensor qkv = normal({2, seq_len, shape.packed_width()}, 3);
    const auto expected = plain_attention(qkv, shape);
    const auto got = values_of(attention(ctx, qkv, shape));
    double worst = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      worst = std::max(worst, std::abs(got[i] - expected[i]));
    }
    INFO("T = " << seq_len);
    CHECK(worst < 1e-12);
  }
}

TEST_CASE("cached attention equals attention over the whole sequence", "[ops]") {
  const AttentionShape shape{.heads = 4, .kv_heads = 2, .head_dim = 3};
  Context ctx(Device{});
  const Tensor qkv = normal({1, 9, shape.packed_width()}, 4);
  const auto whole = values_of(attention(ctx, qkv, shape));
  KvCache cache = make_kv_cache(ctx, shape, 1, 9, DType::kF64);
  std::vector<double> pieces;
  std::int64_t begin = 0;
  for (const std::int64_t length : {4, 1, 3, 1}) {
    const Tensor part = qkv.reshape({9, shape.packed_width()})
                            .slice(begin, begin + length)
                            .reshape({1, length, shape.packed_width()});
    for (const double value : values_of(cached_attention(ctx, part, shape, cache))) {
      pieces.push_back(value);
    }
    begin += length;
  }
  REQUIRE(pieces.size() == whole.size());
  for (std::size_t i = 0; i < whole.size(); ++i) {
    CHECK(pieces[i] == Approx(whole[i]).margin(1e-13));
  }
  CHECK_THROWS_WITH(cached_attention(ctx, qkv, shape, cache),
                    "cached_attention: 9 more tokens after 9; the cache holds 9");
}

TEST_CASE("attention refuses wrong shapes", "[ops]") {
  Context ctx(Device{});
  CHECK_THROWS_WITH(
      attention(ctx, normal({1, 2, 7}, 1), {.heads = 2, .kv_heads = 1, .head_dim = 2}),
      "shape mismatch in attention: qkv [1,2,7]; expected [B,T,8] for 2 + 2 x 1 heads of 2");
  CHECK_THROWS_WITH(
      attention(ctx, normal({1, 2, 8}, 1), {.heads = 3, .kv_heads = 2, .head_dim = 2}),
      "attention: 3 heads over 2 key-value heads; expected a multiple");
}

}  // namespace
}  // namespace ghost
