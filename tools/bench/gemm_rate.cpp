#include "tools/bench/gemm_rate.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <vector>

#include "ops/cpu/gemm.h"

namespace ghost {
namespace {

template <typename T>
double seconds_of(const GemmShape& shape) {
  using Clock = std::chrono::steady_clock;
  using Real = RealOf<T>;
  const std::vector<T> a(static_cast<std::size_t>(shape.m * shape.k), T(Real{0.5}));
  const std::vector<T> b(static_cast<std::size_t>(shape.k * shape.n), T(Real{0.25}));
  std::vector<Real> c(static_cast<std::size_t>(shape.m * shape.n));
  const auto run = [&] {
    cpu::gemm({.m = shape.m, .n = shape.n, .k = shape.k}, Real{1},
              cpu::Matrix<const T>{a.data(), shape.k}, {b.data(), shape.n}, Real{0},
              cpu::Matrix<Real>{c.data(), shape.n});
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

double seconds_of(const GemmShape& shape, DType dtype) {
  return visit_floating(dtype, [&]<typename T>() { return seconds_of<T>(shape); });
}

}  // namespace

double measure_gemm_rate(const GemmShape& shape, DType dtype) {
  return static_cast<double>(shape.flops()) / seconds_of(shape, dtype);
}

double measure_gemm_rate(const GemmCounts& counts, DType dtype) {
  double flops = 0;
  double seconds = 0;
  for (const auto& [shape, count] : counts) {
    flops += static_cast<double>(shape.flops() * count);
    seconds += seconds_of(shape, dtype) * static_cast<double>(count);
  }
  return seconds > 0 ? flops / seconds : 0;
}

std::string products_text(DType dtype) {
  const std::string name(dtype_name(dtype));
  return dtype == DType::kBF16 ? fmt::format("{} ({})", name, cpu::bf16_gemm_path()) : name;
}

}  // namespace ghost
