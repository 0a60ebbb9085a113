#pragma once

#include "ops/poisson_loss.h"

namespace ghost {

struct PoissonLossForward {
  PoissonLossOptions options;
  Tensor u;         // [2 + d, N, 1]
  Tensor targets;   // [N]
  Tensor loss;      // [1]
  Tensor gradient;  // [2 + d, N, 1] of the loss; undefined where nobody wants it
};

namespace cpu {
void poisson_loss(const PoissonLossForward& args);
}  // namespace cpu

}  // namespace ghost
