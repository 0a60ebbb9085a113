#include "tools/eval/score_sums.h"

namespace ghost {

void ScoreSums::set(std::int64_t batch, const BatchScore& score) {
  const double numbers[kNumbers] = {score.loss, score.rows, score.numerator, score.denominator};
  std::copy(std::begin(numbers), std::end(numbers), values_.begin() + batch * kNumbers);
}

// Rows in units of a full batch, so that full batches alone give the plain mean of their losses.
double ScoreSums::loss() const {
  const double full = values_[1];
  double total = 0;
  double weights = 0;
  for (std::size_t at = 0; at < values_.size(); at += kNumbers) {
    const double weight = values_[at + 1] / full;
    total += values_[at] * weight;
    weights += weight;
  }
  return total / weights;
}

std::optional<double> ScoreSums::score(const Model& model) const {
  if (model.score_name().empty()) {
    return std::nullopt;
  }
  return model.score(sum(2), sum(3));
}

double ScoreSums::sum(std::size_t number) const {
  double total = 0;
  for (std::size_t at = number; at < values_.size(); at += kNumbers) {
    total += values_[at];
  }
  return total;
}

}  // namespace ghost
