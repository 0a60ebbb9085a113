#include "ops/rope.h"

#include <cmath>

#include "engine/autograd/pullback.h"
#include "ops/rope_kernels.h"

namespace ghost {
namespace {

// The only lines of this op that know there is more than one backend.
void launch(const Context& ctx, const Rope& args) {
  dispatch(
      ctx, [&] { cpu::rope(args); }, [&] { cuda::rope(args); });
}

std::int64_t rotated_dim(const RopeOptions& options) {
  return std::llround(options.fraction * static_cast<double>(options.head_dim));
}

class RopeOp final : public Op {
 public:
  explicit RopeOp(const RopeOptions& options) : options_(options) {}

  std::string_view name() const override { return "rope"; }
  ResidualSpecs residuals() const override { return {}; }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    return {turned(ctx, x, x.dim(1), /*is_inverse=*/false)};
  }

  // The map is orthogonal: its transpose is its inverse.
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    pullback.give(0, turned(ctx, pullback.dy(), node.facts(0).shape[1], /*is_inverse=*/true));
  }

 private:
  Tensor turned(Context& ctx, const Tensor& x, std::int64_t seq_len, bool is_inverse) const {
    Tensor y = ctx.empty_like(x);
    launch(ctx, Rope{.x = x,
                     .y = y,
                     .seq_len = seq_len,
                     .rotated_dim = rotated_dim(options_),
                     .options = options_,
                     .is_inverse = is_inverse});
    return y;
  }

  RopeOptions options_;
};

}  // namespace

Tensor rope(Context& ctx, const Tensor& x, const RopeOptions& options) {
  const Shape& shape = x.shape();
  const bool is_packed = shape.rank() == 3 && shape.back() == options.heads * options.head_dim;
  const bool is_split =
      shape.rank() == 4 && shape[2] == options.heads && shape[3] == options.head_dim;
  GHOST_CHECK(is_packed || is_split,
              "shape mismatch in rope: x {} against {} heads of {}; expected "
              "[B,T,heads*head_dim] or [B,T,heads,head_dim]",
              shape, options.heads, options.head_dim);
  GHOST_CHECK(options.rotated_heads >= 1 && options.rotated_heads <= options.heads,
              "rope: rotated_heads is {}; expected 1 to {}", options.rotated_heads, options.heads);
  const std::int64_t dim = rotated_dim(options);
  GHOST_CHECK(dim >= 2 && dim <= options.head_dim && dim % 2 == 0,
              "rope: fraction {} of head_dim {} is {} channels; expected an even number in 2 to "
              "head_dim",
              options.fraction, options.head_dim, dim);
  GHOST_CHECK(options.base > 0, "rope: base is {}; expected a positive number", options.base);
  return ctx.apply<RopeOp>({x}, options);
}

}  // namespace ghost
