#include "tools/bench/sketch_rate.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <vector>

#include "engine/autograd/context.h"
#include "ops/row_sketch.h"

namespace ghost {
namespace {

constexpr std::size_t kMatrices = 8;

/// Bytes of one matrix over the shortest time of `pass` on one.
template <typename Pass>
double rate(const std::vector<Tensor>& matrices, const Pass& pass) {
  using Clock = std::chrono::steady_clock;
  double fastest = std::numeric_limits<double>::infinity();
  for (std::size_t run = 0; run < 4 * kMatrices; ++run) {
    const Tensor& x = matrices[run % kMatrices];
    const auto begin = Clock::now();
    pass(x);
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    fastest = run < kMatrices ? fastest : std::min(fastest, seconds);  // first, touch the pages
  }
  return static_cast<double>(matrices[0].bytes()) / fastest;
}

float sum_of(const Tensor& x) {
  const float* values = x.data<float>();
  const std::int64_t n = x.numel();
  float sum = 0;
#pragma omp parallel for simd schedule(simd : static) reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    sum += values[i];
  }
  return sum;
}

}  // namespace

SketchRate measure_sketch_rate(const SketchConfig& config, std::int64_t rows,
                               std::int64_t columns) {
  Context ctx(Device{});
  const RandomStream stream{.seed = 1};
  std::vector<Tensor> matrices;
  for (std::size_t i = 0; i < kMatrices; ++i) {
    matrices.push_back(ctx.empty({rows, columns}, DType::kF32));
    for (std::int64_t j = 0; j < rows * columns; ++j) {
      matrices.back().data<float>()[j] = static_cast<float>((j * 7 + j / columns) % 31) - 15;
    }
  }
  SketchRate out{
      .rows = rows, .columns = columns, .rank = sketch_rank(config, rows, /*progress=*/0)};
  double sums = 0;
  out.read = rate(matrices, [&](const Tensor& x) { sums += static_cast<double>(sum_of(x)); });
  GHOST_CHECK(sums == sums, "sums of numbers are not numbers");  // they are read: not left out
  SketchConfig hashed = config;
  hashed.center = Centering::kNone;
  out.input = rate(
      matrices, [&](const Tensor& x) { const RowSketch sketch(ctx, x, hashed, stream, out.rank); });
  const auto sketch = std::make_shared<const RowSketch>(ctx, matrices[0], hashed, stream, out.rank);
  const GradientTarget dbias{.grad = ctx.empty({columns}, DType::kF32)};
  out.gradient = rate(matrices, [&](const Tensor& dy) {
    GradientSketch gradient(ctx, sketch, columns);
    gradient.add(ctx, dy, /*first_row=*/0, dbias);
  });
  if (config.center != Centering::kNone) {
    ctx.set_row_labels(
        {.tokens = ctx.zeros({rows}, DType::kI32), .targets = ctx.zeros({rows}, DType::kI32)});
    out.groups = rate(matrices, [&](const Tensor& x) {
      const RowSketch grouped(ctx, x, config, stream, out.rank);
    });
  }
  return out;
}

}  // namespace ghost
