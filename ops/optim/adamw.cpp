#include "ops/optim/adamw.h"

#include <cmath>

#include "ops/optim/optim_kernels.h"

namespace ghost {
namespace {

// The only lines of this file that know there is more than one backend.
void launch(const Context& ctx, const AdamWUpdate& args) {
  dispatch(
      ctx, [&] { cpu::adamw(args); }, [&] { cuda::adamw(args); });
}

}  // namespace

AdamW::AdamW(const AdamWOptions& options, Context& ctx, const ParameterStore& store)
    : options_(options),
      ranges_(update_ranges(store, options.lr_scales)),
      exp_avg_("exp_avg", ctx, store),
      exp_avg_sq_("exp_avg_sq", ctx, store) {}

void AdamW::step(Context& ctx, ParameterStore& store, const OptimizerStep& args) {
  GHOST_CHECK(args.step >= 1, "adamw: update number {}; expected 1 or more", args.step);
  exp_avg_.check_matches(store);
  const auto t = static_cast<double>(args.step);
  const double correction1 = 1 - std::pow(options_.beta1, t);
  const double correction2 = 1 - std::pow(options_.beta2, t);
  for (const UpdateRange& range : ranges_) {
    const ParameterGroup& group = store.groups()[range.group];
    const double decay = group.decay == Decay::kYes ? options_.weight_decay : 0.0;
    const double lr = args.lr * range.lr_scale;
    launch(ctx, AdamWUpdate{.values = range.of(group.values),
                            .grads = range.of(group.grads),
                            .exp_avg = range.of(exp_avg_.of(range.group)),
                            .exp_avg_sq = range.of(exp_avg_sq_.of(range.group)),
                            .working = group.working.defined() ? range.of(group.working) : Tensor{},
                            .grad_scale = args.grad_scale,
                            .beta1 = options_.beta1,
                            .beta2 = options_.beta2,
                            .eps = options_.eps,
                            .keep_fraction = 1 - lr * decay,
                            .step_size = lr / correction1,
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
