#include "models/lbi/regions_pass.h"

#include "engine/tensor/primitives.h"

namespace ghost {

Tensor RegionsPass::forward(Context& ctx, const Tensor& canvas, Tensor state) {
  for (std::size_t k = range_.begin; k < range_.end; ++k) {
    const bool is_last = k + 1 == model_.regions().size();
    passes_.push_back(std::make_unique<RegionPass>(model_.regions()[k], slots_, plan_));
    state = passes_.back()->forward(
        ctx, canvas, state, is_last ? RegionPass::Output::kFeatures : RegionPass::Output::kState);
  }
  return state;
}

Tensor RegionsPass::pullbacks(Context& ctx, std::size_t begin, std::size_t end) {
  Tensor all;
  for (std::size_t k = begin; k < end; ++k) {
    const Tensor one = pass(k).pullback(ctx, model_.config().columns);
    const auto at = static_cast<std::int64_t>(k - begin);
    if (!all.defined()) {
      all = ctx.empty(one.shape().with_first(static_cast<std::int64_t>(end - begin)), one.dtype());
    }
    copy(all.slice(at, at + 1), one);
  }
  return all;
}

Tensor RegionsPass::adjoint(Context& ctx, std::size_t region, const Tensor& doutput) {
  return pass(region).adjoint(ctx, doutput);
}

Tensor RegionsPass::backward(Context& ctx, std::size_t region, const Tensor& doutput) {
  const RegionPass::Cotangents share = pass(region).backward(ctx, doutput);
  if (!dcanvas_.defined()) {
    dcanvas_ = ctx.empty_like(share.canvas);
    copy(dcanvas_, share.canvas);
  } else {
    accumulate(dcanvas_, share.canvas);
  }
  return share.state;
}

Tensor RegionsPass::backward(Context& ctx, std::size_t begin, std::size_t end, Tensor doutput) {
  for (std::size_t k = end; k-- > begin;) {
    doutput = backward(ctx, k, doutput);
  }
  return doutput;
}

Tensor ReadoutPass::forward(Context& ctx, const Tensor& features, const Tensor& targets,
                            const Slots& slots) {
  features_ = tape_.watch(features);
  const Context::Recording recording(ctx, &tape_);
  loss_ =
      model_.parts().readout_loss(ctx, features_, scored_targets(ctx, targets, slots.first_scored));
  return loss_.detach();
}

Tensor ReadoutPass::backward(Context& ctx, const Tensor& dloss) {
  const Tensor dfeatures = tape_.pull(ctx, std::span(&loss_, 1), std::span(&dloss, 1),
                                      std::span(&features_, 1), Tape::Parameters::kAccumulate)[0];
  tape_.clear();
  return dfeatures.reshape(features_.shape());
}

}  // namespace ghost
