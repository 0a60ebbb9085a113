#pragma once

#include <cstdint>
#include <vector>

#include "tools/eval/protocol_result.h"

namespace ghost {

/// Losses of positions, window after window, of which scores ask for means by window or by
/// position.
class LossSums {
 public:
  explicit LossSums(std::int64_t seq_len)
      : seq_len_(seq_len), sums_(static_cast<std::size_t>(seq_len)) {}

  /// Losses [windows, T].
  void add(const std::vector<double>& losses);

  std::int64_t windows() const { return static_cast<std::int64_t>(losses_.size()) / seq_len_; }

  /// Of each window, over its positions from `first` on.
  std::vector<double> window_means(std::int64_t first) const;
  /// Of each position, over all windows; NaN before `first`.
  std::vector<double> position_means(std::int64_t first) const;

 private:
  std::int64_t seq_len_;
  std::vector<double> losses_;
  std::vector<double> sums_;  // by position
};

/// Mean of the values of windows and its standard error, NaN for a single one.
Estimate estimate(const std::vector<double>& values);

}  // namespace ghost
