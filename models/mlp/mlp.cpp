#include "models/mlp/mlp.h"

namespace ghost {

Mlp::Mlp(const DenseConfig& config, const Shape& sample, std::int64_t classes)
    : Classifier(sample, classes), layers_(parameters_, config, sample.numel(), classes) {}

Tensor Mlp::logits(Context& ctx, const Tensor& inputs) {
  return layers_.forward(ctx, inputs.reshape({inputs.dim(0), sample().numel()}));
}

}  // namespace ghost
