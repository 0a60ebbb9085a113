#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/cpu/streaming.h"
#include "ops/optim/optim_kernels.h"

namespace ghost::cpu {
namespace {

// Blocks of a fixed size, summed one by one and then in their order: threads only choose who adds a
// block, never what is added to what.
constexpr std::int64_t kBlock = ZeroBlocks::kElements;
// Sums side by side in a block: one alone waits for each of its additions.
constexpr std::int64_t kLanes = 32;

template <typename T>
double sum(const T* x, std::int64_t n, const ZeroBlocks& zeros) {
  const std::int64_t num_blocks = (n + kBlock - 1) / kBlock;
  std::vector<double> partial(static_cast<std::size_t>(num_blocks));
  // A few blocks at a time: those that are zero lie together.
#pragma omp parallel for schedule(static, 4) if (num_blocks > 4)
  for (std::int64_t block = 0; block < num_blocks; ++block) {
    if (zeros.is_zero(block)) {
      continue;
    }
    const std::int64_t end = std::min(n, (block + 1) * kBlock);
    std::int64_t i = block * kBlock;
    double lanes[kLanes] = {};
    for (; i + kLanes <= end; i += kLanes) {
      prefetch_ahead(x + i, kLanes);
#pragma omp simd
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        const auto value = static_cast<double>(x[i + lane]);
        lanes[lane] += value * value;
      }
    }
    double sum_sq = 0;
    for (const double lane : lanes) {
      sum_sq += lane;
    }
    for (; i < end; ++i) {
      sum_sq += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    }
    partial[static_cast<std::size_t>(block)] = sum_sq;
  }
  double total = 0;
  for (const double part : partial) {
    total += part;
  }
  return total;
}

}  // namespace

void sum_of_squares(const SumOfSquares& args) {
  *args.sum.data<double>() = visit_real(args.x.dtype(), [&]<typename T>() {
    return sum(args.x.data<T>(), args.x.numel(), *args.zeros);
  });
}

void step_numbers(const StepNumbersArgs& args) {
  double loss = 0;
  visit_real(args.losses.dtype(), [&]<typename T>() {
    for (const T of_micro_step : args.losses.span<T>()) {
      loss += static_cast<double>(of_micro_step);
    }
  });
  loss /= static_cast<double>(args.losses.numel());
  double sum_sq = 0;
  for (const double of_group : args.sums.span<double>()) {
    sum_sq += of_group;
  }
  const double norm = std::sqrt(sum_sq);
  double factor = args.max_norm == 0 ? 1.0 : std::min(1.0, args.max_norm / (norm + 1e-6));
  if (!std::isfinite(loss) || !std::isfinite(norm)) {
    factor = std::numeric_limits<double>::quiet_NaN();
  }
  double* numbers = args.numbers.data<double>();
  numbers[0] = loss;
  numbers[1] = norm;
  numbers[2] = factor;
}

}  // namespace ghost::cpu
