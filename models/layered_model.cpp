#include "models/layered_model.h"

#include "models/module.h"
#include "ops/linear.h"
#include "ops/linear_cross_entropy.h"

namespace ghost {

Tensor LayeredModel::loss(Context& ctx, const Tensor& tokens, const Tensor& targets) {
  return readout_loss(ctx, blocks_.forward(ctx, embed(ctx, tokens, /*start=*/0)), targets);
}

Tensor LayeredModel::logits(Context& ctx, const Tensor& tokens) {
  return readout_logits(ctx, blocks_.forward(ctx, embed(ctx, tokens, /*start=*/0)));
}

Tensor LayeredModel::readout_loss(Context& ctx, const Tensor& features,
                                  const Tensor& targets) const {
  const Tensor x = final_norm(ctx, features);
  const Context::Scope scope(ctx, "head");
  return linear_cross_entropy(ctx, x, ctx.use(head()), targets,
                              {.vocab_size = vocab_size(), .is_weight_shared = is_head_tied()});
}

Tensor LayeredModel::readout_logits(Context& ctx, const Tensor& features) const {
  const Tensor x = final_norm(ctx, features);
  const Context::Scope scope(ctx, "head");
  return linear(ctx, x, ctx.use(head()), {});
}

GenerationState LayeredModel::start(Context& ctx, std::int64_t batch, std::int64_t max_length) {
  return blocks_.start(ctx, batch, max_length);
}

Tensor LayeredModel::step(Context& ctx, const Tensor& tokens, GenerationState& state) {
  const Context::Recording off(ctx, nullptr);
  // Only the last position of each sequence goes through the head.
  return readout_logits(ctx, blocks_.step(ctx, embed(ctx, tokens, state.length), state));
}

}  // namespace ghost
