#pragma once

#include <string>
#include <vector>

#include "engine/autograd/context.h"
#include "models/mlp/dense_config.h"

namespace ghost {

/// Dense layers `layers.0` to `layers.L`, each with `weight` [out, in] and `bias` [out]: hidden
/// ones of the widths of the config, then the linear one. The last layer's bias starts from 0.
class DenseLayers {
 public:
  DenseLayers(ParameterStore& store, const DenseConfig& config, std::int64_t in, std::int64_t out);

  /// [..., in] to [..., out].
  Tensor forward(Context& ctx, const Tensor& x) const;

  /// The same function of points [N, d] with its first derivatives and its Laplacian, as
  /// taylor_activation lays them out: [2 + d, N, out]. Layers of tanh with biases.
  Tensor forward_taylor(Context& ctx, const Tensor& points) const;

  std::int64_t size() const { return static_cast<std::int64_t>(layers_.size()); }
  /// Of the products: elements of all weights.
  double num_weights() const;

 private:
  struct Layer {
    std::string name;
    Parameter* weight = nullptr;
    Parameter* bias = nullptr;  // null without biases
  };

  DenseActivation activation_;
  std::vector<Layer> layers_;
};

/// The activation, as an op.
Tensor activate(Context& ctx, DenseActivation activation, const Tensor& x);

}  // namespace ghost
