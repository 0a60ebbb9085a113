#include "tools/eval/loss_sums.h"

#include <cmath>
#include <limits>
#include <numeric>

namespace ghost {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

}  // namespace

void LossSums::add(const std::vector<double>& losses) {
  losses_.insert(losses_.end(), losses.begin(), losses.end());
  for (std::size_t i = 0; i < losses.size(); ++i) {
    sums_[i % sums_.size()] += losses[i];
  }
}

std::vector<double> LossSums::window_means(std::int64_t first) const {
  std::vector<double> means;
  for (auto row = losses_.begin(); row != losses_.end(); row += seq_len_) {
    means.push_back(std::accumulate(row + first, row + seq_len_, 0.0) /
                    static_cast<double>(seq_len_ - first));
  }
  return means;
}

std::vector<double> LossSums::position_means(std::int64_t first) const {
  std::vector<double> means(sums_.size(), kNan);
  for (auto t = static_cast<std::size_t>(first); t < sums_.size(); ++t) {
    means[t] = sums_[t] / static_cast<double>(windows());
  }
  return means;
}

Estimate estimate(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) {
    squares += (value - mean) * (value - mean);
  }
  return {.mean = mean,
          .standard_error = count > 1 ? std::sqrt(squares / (count - 1) / count) : kNan};
}

}  // namespace ghost
