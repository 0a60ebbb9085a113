#pragma once

#include <string>
#include <vector>

#include "models/classifier.h"
#include "models/cnn/cnn_config.h"
#include "models/mlp/dense_layers.h"

namespace ghost {

/// Convolutions `convs.0` to `convs.L`, each with ReLU and pooling by 2 behind it, then dense
/// layers `layers.*` of the flattened result. Only the inputs of the dense layers can be sketched.
class Cnn final : public Classifier {
 public:
  /// Throws ghost::ConfigError when images are too small to be halved so often.
  Cnn(const CnnConfig& config, const Shape& sample, std::int64_t classes);

  std::string_view architecture() const override { return "cnn"; }
  Tensor logits(Context& ctx, const Tensor& inputs) override;
  std::int64_t num_layers() const override {
    return static_cast<std::int64_t>(convs_.size()) + dense_.size();
  }
  double flops_per_item(std::int64_t seq_len) const override;
  std::string_view flops_formula() const override { return "6 N, N of a convolution times H W"; }

 private:
  struct Conv {
    std::string name;
    Parameter* weight = nullptr;  // [M, C, K, K]
    Parameter* bias = nullptr;    // null without biases
    double pixels = 0;            // of its output, a sample and channel
  };

  /// Declares the convolutions; returns the elements behind the last one, a sample.
  std::int64_t declare_convs();

  CnnConfig config_;
  std::vector<Conv> convs_;
  DenseLayers dense_;
};

}  // namespace ghost
