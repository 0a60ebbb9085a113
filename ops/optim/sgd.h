#pragma once

#include <vector>

#include "ops/optim/group_state.h"
#include "ops/optim/update_ranges.h"

namespace ghost {

struct SgdOptions {
  double momentum = 0;
  bool is_nesterov = false;  // needs momentum > 0
  double weight_decay = 0;   // of groups that decay; coupled: part of the gradient
  std::vector<LrScale> lr_scales = {};
};

/// Stochastic gradient descent. With g the scaled gradient plus weight_decay * p:
///
///   m = momentum m + g
///   p = p - lr m,                  plain momentum
///   p = p - lr (g + momentum m),   Nesterov
///
/// state   momentum (m) of every group; none when momentum is 0
/// source  Sutskever et al. 2013 (section 2), in the form of PyTorch: lr outside of m, no dampening
class Sgd final : public Optimizer {
 public:
  Sgd(const SgdOptions& options, Context& ctx, const ParameterStore& store);

  void step(Context& ctx, ParameterStore& store, const OptimizerStep& args) override;
  std::vector<NamedTensor> state() const override;

 private:
  SgdOptions options_;
  std::vector<UpdateRange> ranges_;
  GroupState momentum_;
};

}  // namespace ghost
