#pragma once

#include "engine/tensor/tensor.h"

namespace ghost {

class Context;

/// A weight gradient before its product: dW [M, N] = left^T right, or columns of it.
struct GradientFactors {
  Tensor left;   // [R, M]
  Tensor right;  // [R, n], n <= N
};

/// Sums weight gradients over ranks by their factors, where these are smaller than the product.
class FactorExchange {
 public:
  virtual ~FactorExchange() = default;

  /// Whether this gradient goes by its factors: the same on all ranks, as it hangs on shapes alone.
  /// Then what is written is the sum over ranks, and nobody adds it up again.
  virtual bool takes(const Tensor& dweight, const GradientFactors& factors) = 0;

  /// The factors of D ranks, one below the other: [D R, M], [D R, n]. Collective.
  virtual GradientFactors gather(const Context& ctx, const GradientFactors& own) = 0;
};

}  // namespace ghost
