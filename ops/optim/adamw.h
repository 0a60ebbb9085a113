#pragma once

#include <vector>

#include "ops/optim/group_state.h"
#include "ops/optim/update_ranges.h"

namespace ghost {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;  // of groups that decay
  std::vector<LrScale> lr_scales = {};
};

/// Adam with decoupled weight decay. With g the scaled gradient and t the number of the update:
///
///   m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2
///   p = (1 - lr weight_decay) p - lr mhat / (sqrt(vhat) + eps)
///   mhat = m / (1 - beta1^t),   vhat = v / (1 - beta2^t)
///
/// state   exp_avg (m) and exp_avg_sq (v) of every group
/// source  Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2 with lr in the decay, as
///         PyTorch has it
class AdamW final : public Optimizer {
 public:
  AdamW(const AdamWOptions& options, Context& ctx, const ParameterStore& store);

  void step(Context& ctx, ParameterStore& store, const OptimizerStep& args) override;
  std::vector<NamedTensor> state() const override;

 private:
  AdamWOptions options_;
  std::vector<UpdateRange> ranges_;
  GroupState exp_avg_;
  GroupState exp_avg_sq_;
};

}  // namespace ghost
