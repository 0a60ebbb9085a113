#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/autograd/context.h"
#include "engine/io/weights.h"
#include "ops/optim/optimizer_config.h"

namespace ghost {

/// What changes from one update to the next.
struct OptimizerStep {
  double lr = 0;
  /// [1] f64, multiplies every gradient as it is read: clipping, averaging. Undefined: 1; NaN: this
  /// update changes nothing.
  Tensor grad_scale = {};
  std::int64_t step = 1;  // number of this update, from 1 (bias correction)
};

/// Updates all parameters from their gradients, in one pass over each group's flat buffers.
/// State is allocated with the object, under the tag `optimizer`.
class Optimizer {
 public:
  Optimizer() = default;
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Reads the gradients, writes the values. Gradients must be complete
  /// (ParameterStore::finish_gradients); `store` is the one the optimizer was made for.
  virtual void step(Context& ctx, ParameterStore& store, const OptimizerStep& args) = 0;

  /// All state, in a fixed order, for checkpoints to save and restore in place:
  /// "exp_avg.PARAMETER" has the parameter's shape, and is undefined where that is not here.
  virtual std::vector<NamedTensor> state() const = 0;
};

/// The optimizer that the config names, with state of zeros for a store that is materialized.
std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config, Context& ctx,
                                          const ParameterStore& store);

}  // namespace ghost
