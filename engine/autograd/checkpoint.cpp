#include "engine/autograd/checkpoint.h"

#include <utility>

#include "engine/autograd/pullback.h"

namespace ghost {
namespace {

class Checkpoint final : public Op {
 public:
  Checkpoint(BlockFunction block, std::int64_t site) : block_(std::move(block)), site_(site) {}

  std::string_view name() const override { return "checkpoint"; }
  ResidualSpecs residuals() const override { return {{"x", Role::kBlockInput}}; }

  bool holds_parameters() const override { return true; }

  Tensors forward(Context& ctx, Node& node) const override {
    node.keep("x", node.input(0));
    const Context::Recording off(ctx, nullptr);
    const Context::BlockRun run(ctx, Context::Again::kNo);
    return {block_(ctx, node.input(0).detach())};
  }

  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    Tape inner(ctx.tape()->plan().inside_block());
    const std::int64_t outer_site = ctx.site();
    ctx.set_site(site_);
    Tensor x = inner.watch(node.residual("x"));
    Tensor y;
    {
      const Context::Recording on(ctx, &inner);
      const Context::BlockRun run(ctx, Context::Again::kYes);
      const Context::Scope where(ctx, node.module());
      y = block_(ctx, x);
    }
    ctx.set_site(outer_site);
    const Tensor dy = pullback.dy();
    Tensors dx = inner.pull(
        ctx, std::span(&y, 1), std::span(&dy, 1), std::span(&x, 1),
        pullback.wants_parameters() ? Tape::Parameters::kAccumulate : Tape::Parameters::kSkip);
    pullback.give(0, std::move(dx[0]));
  }

 private:
  BlockFunction block_;
  std::int64_t site_;  // number of the block's first random draw
};

}  // namespace

Tensor checkpoint(Context& ctx, const Tensor& x, BlockFunction block, Recompute level) {
  if (ctx.tape() == nullptr || ctx.tape()->plan().recompute() != level) {
    const Context::BlockRun run(ctx, Context::Again::kNo);  // others read what this block returns
    return block(ctx, x);
  }
  // Recorded even where x is data: the block's parameters need their gradients.
  const Tensor input = ctx.tape()->records(x) ? x : ctx.tape()->watch(x);
  return ctx.apply<Checkpoint>({input}, std::move(block), ctx.site());
}

}  // namespace ghost
