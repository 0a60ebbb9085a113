#pragma once

#include <cstdint>
#include <set>

#include "engine/autograd/factor_exchange.h"
#include "engine/autograd/parameter.h"
#include "models/rank_grid.h"

namespace ghost {

/// Weight gradients of sketched linears over the replicas of a grid: a gradient goes by its factors
/// where a step then moves fewer bytes through a rank, D R (M + n) numbers a micro-step on D
/// replicas against 2 M N.
class ReplicaFactors final : public FactorExchange {
 public:
  /// The grid must outlive the object.
  ReplicaFactors(RankGrid& grid, std::int64_t micro_steps)
      : grid_(grid), micro_steps_(micro_steps) {}

  /// Before the backward passes of a step.
  void begin_step() { summed_.clear(); }
  bool takes(const Tensor& dweight, const GradientFactors& factors) override;
  GradientFactors gather(const Context& ctx, const GradientFactors& own) override;
  /// Whether the step's gradient of a parameter is the sum over replicas already.
  bool has_summed(const Parameter& parameter) const {
    return summed_.contains(parameter.grad.raw());
  }

 private:
  RankGrid& grid_;
  std::int64_t micro_steps_;
  std::set<const std::byte*> summed_;  // gradients, by where they are
};

}  // namespace ghost
