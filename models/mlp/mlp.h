#pragma once

#include "models/classifier.h"
#include "models/mlp/dense_layers.h"

namespace ghost {

/// A multilayer perceptron: samples as flat vectors, dense layers, logits.
class Mlp final : public Classifier {
 public:
  Mlp(const DenseConfig& config, const Shape& sample, std::int64_t classes);

  std::string_view architecture() const override { return "mlp"; }
  Tensor logits(Context& ctx, const Tensor& inputs) override;
  std::int64_t num_layers() const override { return layers_.size(); }
  double flops_per_item(std::int64_t /*seq_len*/) const override {
    return 6 * layers_.num_weights();
  }
  std::string_view flops_formula() const override { return "6 N"; }

 private:
  DenseLayers layers_;
};

}  // namespace ghost
