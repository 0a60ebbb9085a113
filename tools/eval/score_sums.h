#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "models/model.h"

namespace ghost {

/// The scores of the batches of an evaluation. What a rank has not set is 0, so that a sum over
/// replicas makes it whole.
class ScoreSums {
 public:
  explicit ScoreSums(std::int64_t num_batches)
      : values_(static_cast<std::size_t>(kNumbers * num_batches)) {}

  void set(std::int64_t batch, const BatchScore& score);
  std::span<double> values() { return values_; }

  /// Mean over all rows.
  double loss() const;
  /// Of a model that has one.
  std::optional<double> score(const Model& model) const;

 private:
  static constexpr std::int64_t kNumbers = 4;  // loss, rows, numerator, denominator

  double sum(std::size_t number) const;

  std::vector<double> values_;  // [batches, kNumbers]
};

}  // namespace ghost
