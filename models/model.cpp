#include "models/model.h"

#include "engine/tensor/primitives.h"

namespace ghost {

BatchScore Model::score_batch(Context& ctx, const Tensor& inputs, const Tensor& targets) {
  return {.loss = item(loss(ctx, inputs, targets)), .rows = static_cast<double>(inputs.dim(0))};
}

}  // namespace ghost
