#include "ops/optim/sgd.h"

#include "ops/optim/optim_kernels.h"

namespace ghost {
namespace {

// The only lines of this file that know there is more than one backend.
void launch(const Context& ctx, const SgdUpdate& args) {
  dispatch(
      ctx, [&] { cpu::sgd(args); }, [&] { cuda::sgd(args); });
}

}  // namespace

Sgd::Sgd(const SgdOptions& options, Context& ctx, const ParameterStore& store)
    : options_(options), ranges_(update_ranges(store, options.lr_scales)) {
  GHOST_CHECK(!options.is_nesterov || options.momentum > 0,
              "sgd: nesterov with momentum {}; expected a positive momentum", options.momentum);
  if (options.momentum > 0) {
    momentum_ = GroupState("momentum", ctx, store);
  }
}

void Sgd::step(Context& ctx, ParameterStore& store, const OptimizerStep& args) {
  const bool has_momentum = options_.momentum > 0;
  if (has_momentum) {
    momentum_.check_matches(store);
  }
  for (const UpdateRange& range : ranges_) {
    const ParameterGroup& group = store.groups()[range.group];
    launch(ctx, SgdUpdate{.values = range.of(group.values),
                          .grads = range.of(group.grads),
                          .average = has_momentum ? range.of(momentum_.of(range.group)) : Tensor{},
                          .working = group.working.defined() ? range.of(group.working) : Tensor{},
                          .grad_scale = args.grad_scale,
                          .lr = args.lr * range.lr_scale,
                          .momentum = options_.momentum,
                          .weight_decay = group.decay == Decay::kYes ? options_.weight_decay : 0.0,
                          .is_nesterov = options_.is_nesterov,
                          .zeros = group.zeros.get(),
                          .offset = range.begin});
  }
}

std::vector<NamedTensor> Sgd::state() const {
  std::vector<NamedTensor> list;
  momentum_.append_to(list);
  return list;
}

}  // namespace ghost
