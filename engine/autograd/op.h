#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "engine/autograd/node.h"

namespace ghost {

class Pullback;

/// A residual as an op declares it, before anything has run.
struct ResidualSpec {
  std::string_view name;
  Role role;
  bool may_be_derivative = false;  // what is kept under this name may be f'(x) instead of x
};
using ResidualSpecs = std::vector<ResidualSpec>;

/// A differentiable operation: its forward pass and its backward rule. Objects are immutable and
/// hold only what the caller passed besides tensors.
class Op {
 public:
  Op() = default;
  virtual ~Op() = default;
  Op(const Op&) = delete;
  Op& operator=(const Op&) = delete;

  virtual std::string_view name() const = 0;

  /// Everything that forward may keep. A declaration, not a hint: keeping anything else throws.
  virtual ResidualSpecs residuals() const = 0;

  virtual Tensors forward(Context& ctx, Node& node) const = 0;

  /// Reads the cotangents of the outputs, [P, ...] each, and gives those of the wanted inputs.
  virtual void backward(Context& ctx, const Node& node, Pullback& pullback) const = 0;

  /// Whether the rule fills gradients of parameters that are not among the inputs; it then runs
  /// even where nobody wants an input's cotangent.
  virtual bool holds_parameters() const { return false; }

  /// Whether `recompute` is element-wise work on residuals (norms, activations).
  virtual bool is_cheap() const { return false; }
  /// Makes output 0 again from the residuals. Only called when is_cheap() and no residual is a
  /// derivative.
  virtual Tensor recompute(Context& ctx, const Node& node) const;
};

}  // namespace ghost
