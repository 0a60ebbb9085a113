#include <cmath>

#include "engine/device/cuda/stream.h"
#include "engine/tensor/primitives.h"
#include "ops/attention_kernels.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

// A GPU against the CPU in f64 on the very values that the GPU is given.

struct AttentionCase {
  DType dtype = DType::kBF16;
  std::int64_t batch = 1;
  std::int64_t seq_len = 1;
  AttentionShape shape;
  std::int64_t basis = 1;
};

const Context& host() {
  static const Context context{Device{}};
  return context;
}

Tensor cast_to(const Tensor& x, DType dtype) {
  Tensor out = host().empty(x.shape(), dtype);
  cast(out, x);
  return out;
}

Tensor to_device(const Context& ctx, const Tensor& x) {
  Tensor out = ctx.empty(x.shape(), x.dtype());
  copy(out, x);
  return out;
}

/// Memory on the device full of NaN, so that what a kernel leaves out shows.
Tensor poisoned(const Context& ctx, const Shape& shape, DType dtype) {
  Tensor values = host().empty(shape, dtype);
  std::fill_n(values.raw(), values.bytes(), std::byte{0xff});
  return to_device(ctx, values);
}

std::vector<double> from_device(const Tensor& x) {
  Tensor values = host().empty(x.shape(), x.dtype());
  copy(values, x);
  return test::values_of(cast_to(values, DType::kF64));
}

/// ||got - expected|| over the columns [begin, end) of rows, of ||expected|| over all of them: a
/// single token has no dq and dk but rounding. NaN fails any bound.
double difference(const Tensor& got, const Tensor& expected, std::int64_t begin, std::int64_t end) {
  const std::vector<double> x = from_device(got);
  const std::vector<double> y = test::values_of(expected);
  const auto width = static_cast<std::size_t>(expected.shape().back());
  double error = 0;
  double norm = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const auto column = static_cast<std::int64_t>(i % width);
    norm += y[i] * y[i];
    if (column >= begin && column < end) {
      error += (x[i] - y[i]) * (x[i] - y[i]);
    }
  }
  return std::sqrt(error / norm);
}

double difference(const Tensor& got, const Tensor& expected) {
  return difference(got, expected, 0, expected.shape().back());
}

Tensor scratch() { return host().empty({cpu::attention_workspace()}, DType::kF64); }

void check_case(const Context& ctx, const AttentionCase& c, double tolerance) {
  INFO(dtype_name(c.dtype) << ", B = " << c.batch << ", T = " << c.seq_len << ", heads "
                           << c.shape.heads << " over " << c.shape.kv_heads << " of "
                           << c.shape.head_dim << ", P = " << c.basis);
  const Shape outputs{c.batch, c.seq_len, c.shape.width()};
  const Shape statistics{c.batch, c.shape.heads, c.seq_len};
  const Tensor qkv =
      cast_to(test::normal({c.batch, c.seq_len, c.shape.packed_width()}, 1), c.dtype);
  const Tensor dout = cast_to(test::normal(outputs.with_first(c.basis), 2), c.dtype);

  const AttentionForward forward{.qkv = cast_to(qkv, DType::kF64),
                                 .o = host().empty(outputs, DType::kF64),
                                 .lse = host().empty(statistics, DType::kF64),
                                 .workspace = scratch(),
                                 .shape = c.shape};
  const AttentionBackward backward{
      .qkv = forward.qkv,
      .o = forward.o,
      .lse = forward.lse,
      .dout = cast_to(dout, DType::kF64),
      .dqkv = host().empty(qkv.shape().with_first(c.basis), DType::kF64),
      .delta = host().empty(statistics.with_first(c.basis), DType::kF64),
      .workspace = forward.workspace,
      .shape = c.shape};
  cpu::attention(forward);
  cpu::attention(backward);

  const AttentionForward on_gpu{.qkv = to_device(ctx, qkv),
                                .o = poisoned(ctx, outputs, c.dtype),
                                .lse = poisoned(ctx, statistics, DType::kF32),
                                .shape = c.shape};
  const auto pull_back = [&] {
    const AttentionBackward args{.qkv = on_gpu.qkv,
                                 .o = on_gpu.o,
                                 .lse = on_gpu.lse,
                                 .dout = to_device(ctx, dout),
                                 .dqkv = poisoned(ctx, backward.dqkv.shape(), c.dtype),
                                 .delta = poisoned(ctx, backward.delta.shape(), DType::kF32),
                                 .shape = c.shape};
    cuda::attention(args);
    return args;
  };
  cuda::attention(on_gpu);
  const AttentionBackward back_on_gpu = pull_back();

  CHECK(difference(on_gpu.o, forward.o) <= tolerance);
  CHECK(difference(on_gpu.lse, forward.lse) <= 1e-5);
  CHECK(difference(back_on_gpu.delta, backward.delta) <= tolerance);
  const std::int64_t keys = c.shape.width();
  const std::int64_t values = keys + c.shape.kv_heads * c.shape.head_dim;
  CHECK(difference(back_on_gpu.dqkv, backward.dqkv, 0, keys) <= tolerance);
  CHECK(difference(back_on_gpu.dqkv, backward.dqkv, keys, values) <= tolerance);
  CHECK(difference(back_on_gpu.dqkv, backward.dqkv, values, c.shape.packed_width()) <= tolerance);
  // The same bits again.
  CHECK(from_device(pull_back().dqkv) == from_device(back_on_gpu.dqkv));
}

bool skips_without_gpu() {
  if (cuda::num_devices() == 0) {
    WARN("skipped: no CUDA device");
    return true;
  }
  return false;
}

const std::vector<std::int64_t> kLengths = {1, 17, 64, 65, 130, 257};

TEST_CASE("attention on a GPU in bf16 equals the CPU", "[ops][cuda]") {
  if (skips_without_gpu()) {
    return;
  }
  const Context ctx(Device{.type = DeviceType::kCuda});
  for (const std::int64_t head_dim : {32, 64, 80, 128}) {
    for (const std::int64_t seq_len : kLengths) {
      for (const std::int64_t basis : {1, 3}) {
        for (const std::int64_t heads : {1, 2, 3}) {
          check_case(ctx,
                     {.batch = 2,
                      .seq_len = seq_len,
                      .shape = {.heads = heads, .kv_heads = heads, .head_dim = head_dim},
                      .basis = basis},
                     1e-2);
        }
        check_case(ctx,
                   {.seq_len = seq_len,
                    .shape = {.heads = 4, .kv_heads = 2, .head_dim = head_dim},
                    .basis = basis},
                   1e-2);
      }
    }
  }
}

TEST_CASE("attention on a GPU in f32 equals the CPU", "[ops][cuda]") {
  if (skips_without_gpu()) {
    return;
  }
  const Context ctx(Device{.type = DeviceType::kCuda});
  for (const std::int64_t head_dim : {1, 5, 64, 80}) {
    for (const std::int64_t seq_len : kLengths) {
      check_case(ctx,
                 {.dtype = DType::kF32,
                  .batch = 2,
                  .seq_len = seq_len,
                  .shape = {.heads = 4, .kv_heads = 2, .head_dim = head_dim},
                  .basis = 5},
                 1e-5);
    }
  }
}

TEST_CASE("cached attention on a GPU equals attention over the whole sequence", "[ops][cuda]") {
  if (skips_without_gpu()) {
    return;
  }
  Context ctx(Device{.type = DeviceType::kCuda});
  constexpr std::int64_t kLength = 150;
  const AttentionShape shape{.heads = 4, .kv_heads = 2, .head_dim = 64};
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    INFO(dtype_name(dtype));
    const Tensor qkv = cast_to(test::normal({1, kLength, shape.packed_width()}, 4), dtype);
    const Tensor on_gpu = to_device(ctx, qkv);
    const Tensor rows = on_gpu.reshape({kLength, shape.packed_width()});
    const Tensor whole = attention(ctx, on_gpu, shape);
    KvCache cache = make_kv_cache(ctx, shape, 1, kLength, dtype);
    const std::vector<double> expected = from_device(whole);
    std::vector<double> pieces;
    std::int64_t begin = 0;
    for (const std::int64_t length : {40, 1, 1, 100, 8}) {
      const Tensor part =
          rows.slice(begin, begin + length).reshape({1, length, shape.packed_width()});
      for (const double value : from_device(cached_attention(ctx, part, shape, cache))) {
        pieces.push_back(value);
      }
      begin += length;
    }
    REQUIRE(pieces.size() == expected.size());
    double worst = 0;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      worst = std::max(worst, std::abs(pieces[i] - expected[i]));
    }
    CHECK(worst <= (dtype == DType::kF32 ? 1e-5 : 2e-2));
  }
}

TEST_CASE("attention refuses what a GPU cannot do", "[ops][cuda]") {
  if (skips_without_gpu()) {
    return;
  }
  Context ctx(Device{.type = DeviceType::kCuda});
  CHECK_THROWS_WITH(
      attention(ctx, ctx.empty({1, 2, 6}, DType::kF64), {.heads = 1, .kv_heads = 1, .head_dim = 2}),
      "attention: f64 runs on the CPU only");
  CHECK_THROWS_WITH(attention(ctx, ctx.empty({1, 2, 3 * 513}, DType::kF32),
                              {.heads = 1, .kv_heads = 1, .head_dim = 513}),
                    "attention: heads of 513 on a GPU; expected at most 512 values");
}

}  // namespace
}  // namespace ghost
