#include "tools/bench/gemm_rate.h"

#include <algorithm>
#include <chrono>
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
  std::vector<double> times;
  double total = 0;
  while (total < 0.05 || times.size() < 3) {
    const auto begin = Clock::now();
    run();
    times.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    total += times.back();
  }
  std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2),
                   times.end());
  return times[times.size() / 2];
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
