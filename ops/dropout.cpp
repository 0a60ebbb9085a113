#include "ops/dropout.h"

#include <cmath>

#include "engine/autograd/pullback.h"
#include "ops/dropout_kernels.h"

namespace ghost {
namespace {

// The only lines of this op that know there is more than one backend.
void launch(const Context& ctx, const Dropout& args) {
  dispatch(
      ctx, [&] { cpu::dropout(args); }, [&] { cuda::dropout(args); });
}

class DropoutOp final : public Op {
 public:
  DropoutOp(const RandomStream& stream, double rate) : stream_(stream), rate_(rate) {}

  std::string_view name() const override { return "dropout"; }
  ResidualSpecs residuals() const override { return {}; }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    return {ctx.needs_outputs() ? dropped(ctx, x, /*basis=*/1) : ctx.empty_like(x)};
  }

  void backward(Context& ctx, const Node& /*node*/, Pullback& pullback) const override {
    pullback.give(0, dropped(ctx, pullback.dy(), pullback.basis_size()));
  }

 private:
  Tensor dropped(Context& ctx, const Tensor& x, std::int64_t basis) const {
    Tensor y = ctx.empty_like(x);
    launch(ctx, Dropout{.stream = stream_,
                        .threshold = static_cast<std::uint32_t>(std::lround(rate_ * 0x1p24)),
                        .factor = 1 / (1 - rate_),
                        .basis = basis,
                        .x = x,
                        .y = y});
    return y;
  }

  RandomStream stream_;
  double rate_;
};

}  // namespace

Tensor dropout(Context& ctx, const Tensor& x, double rate) {
  GHOST_CHECK(rate >= 0 && rate < 1, "dropout: rate is {}; expected 0 <= rate < 1", rate);
  if (!ctx.is_training() || rate == 0) {
    return x;
  }
  return ctx.apply<DropoutOp>({x}, ctx.next_stream(Purpose::kDropout), rate);
}

}  // namespace ghost
