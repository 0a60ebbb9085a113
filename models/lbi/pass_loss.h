#pragma once

#include <memory>
#include <string_view>
#include <utility>

#include "engine/autograd/op.h"
#include "engine/autograd/pullback.h"
#include "models/lbi/lbi_model.h"

namespace ghost {

/// A forward and backward pass with tapes of its own as one node of an outer tape: loss [1] of
/// tokens and targets. `Pass` has forward(ctx, tokens, targets) and backward(ctx, dloss).
template <typename Pass>
class PassLoss final : public Op {
 public:
  /// `report` is written by the backward pass and must outlive it.
  PassLoss(std::shared_ptr<Pass> pass, BackwardReport* report)
      : pass_(std::move(pass)), report_(report) {}

  std::string_view name() const override { return "regions_loss"; }
  ResidualSpecs residuals() const override { return {}; }
  bool holds_parameters() const override { return true; }

  Tensors forward(Context& ctx, Node& node) const override {
    return {pass_->forward(ctx, node.input(0).detach(), node.input(1).detach())};
  }

  void backward(Context& ctx, const Node& /*node*/, Pullback& pullback) const override {
    if (pullback.wants_parameters()) {
      *report_ = pass_->backward(ctx, pullback.dy());
    }
  }

 private:
  std::shared_ptr<Pass> pass_;
  BackwardReport* report_;
};

}  // namespace ghost
