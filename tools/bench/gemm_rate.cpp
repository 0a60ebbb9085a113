#include "tools/bench/gemm_rate.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <vector>

#include "ops/cpu/gemm.h"

namespace ghost {
namespace {

double seconds_of(const GemmShape& shape) {
  using Clock = std::chrono::steady_clock;
  std::vector<float> a(static_cast<std::size_t>(shape.m * shape.k), 0.5F);
  std::vector<float> b(static_cast<std::size_t>(shape.k * shape.n), 0.25F);
  std::vector<float> c(static_cast<std::size_t>(shape.m * shape.n));
  const auto run = [&] {
    cpu::gemm({.m = shape.m, .n = shape.n, .k = shape.k}, 1.0F, {a.data(), shape.k},
              {b.data(), shape.n}, 0.0F, {c.data(), shape.n});
  };
  run();  // touches the pages
  double fastest = std::numeric_limits<double>::infinity();
  double total = 0;
  for (int runs = 0; total < 0.05 || runs < 3; ++runs) {
    const auto begin = Clock::now();
    run();
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    fastest = std::min(fastest, seconds);
    total += seconds;
  }
  return fastest;
}

}  // namespace

double measure_gemm_rate(const GemmShape& shape) {
  return static_cast<double>(shape.flops()) / seconds_of(shape);
}

double measure_gemm_rate(const GemmCounts& counts) {
  double flops = 0;
  double seconds = 0;
  for (const auto& [shape, count] : counts) {
    flops += static_cast<double>(shape.flops() * count);
    seconds += seconds_of(shape) * static_cast<double>(count);
  }
  return seconds > 0 ? flops / seconds : 0;
}

}  // namespace ghost
