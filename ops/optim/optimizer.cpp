#include "ops/optim/optimizer.h"

#include "ops/optim/adamw.h"
#include "ops/optim/sgd.h"

namespace ghost {

std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config, Context& ctx,
                                          const ParameterStore& store) {
  switch (config.kind) {
    case OptimizerKind::kAdamW:
      return std::make_unique<AdamW>(AdamWOptions{.beta1 = config.beta1,
                                                  .beta2 = config.beta2,
                                                  .eps = config.eps,
                                                  .weight_decay = config.decay(),
                                                  .lr_scales = config.lr_scales},
                                     ctx, store);
    case OptimizerKind::kSgd:
      return std::make_unique<Sgd>(SgdOptions{.momentum = config.momentum,
                                              .is_nesterov = config.nesterov,
                                              .weight_decay = config.decay(),
                                              .lr_scales = config.lr_scales},
                                   ctx, store);
  }
  fail("there is no optimizer of kind {}", static_cast<int>(config.kind));
}

}  // namespace ghost
