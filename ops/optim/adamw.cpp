#include "ops/optim/adamw.h"

#include <cmath>

#include "ops/optim/optim_kernels.h"

namespace ghost {
namespace {

// The only lines of this file that know there is more than one backend.
void launch(const Context& ctx, const AdamWUpdate& args) {
  dispatch(ctx, [&] { cpu::adamw(args); });
}

}  // namespace

AdamW::AdamW(const AdamWOptions& options, Context& ctx, const ParameterStore& store)
    : options_(options), exp_avg_("exp_avg", ctx, store), exp_avg_sq_("exp_avg_sq", ctx, store) {}

void AdamW::step(Context& ctx, ParameterStore& store, const OptimizerStep& args) {
  GHOST_CHECK(args.step >= 1, "adamw: update number {}; expected 1 or more", args.step);
  exp_avg_.check_matches(store);
  const auto t = static_cast<double>(args.step);
  const double correction1 = 1 - std::pow(options_.beta1, t);
  const double correction2 = 1 - std::pow(options_.beta2, t);
  for (std::size_t i = 0; i < store.groups().size(); ++i) {
    const ParameterGroup& group = store.groups()[i];
    const double decay = group.decay == Decay::kYes ? options_.weight_decay : 0.0;
    launch(ctx, AdamWUpdate{.values = group.values,
                            .grads = group.grads,
                            .exp_avg = exp_avg_.of(i),
                            .exp_avg_sq = exp_avg_sq_.of(i),
                            .grad_scale = args.grad_scale,
                            .beta1 = options_.beta1,
                            .beta2 = options_.beta2,
                            .eps = options_.eps,
                            .keep_fraction = 1 - args.lr * decay,
                            .step_size = args.lr / correction1,
                            .root_scale = 1 / std::sqrt(correction2)});
  }
}

std::vector<NamedTensor> AdamW::state() const {
  std::vector<NamedTensor> list;
  exp_avg_.append_to(list);
  exp_avg_sq_.append_to(list);
  return list;
}

}  // namespace ghost
