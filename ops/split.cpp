#include "ops/split.h"

#include <numeric>
#include <vector>

#include "engine/autograd/pullback.h"
#include "ops/split_kernels.h"

namespace ghost {
namespace {

// The only lines of this op that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::split(args); }, [&] { cuda::split(args); });
}

class SplitOp final : public Op {
 public:
  explicit SplitOp(std::span<const std::int64_t> widths) : widths_(widths.begin(), widths.end()) {}

  std::string_view name() const override { return "split"; }
  ResidualSpecs residuals() const override { return {}; }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    Tensors parts;
    for (const std::int64_t width : widths_) {
      parts.push_back(ctx.empty(x.shape().with_last(width), x.dtype()));
    }
    launch(ctx, Split{.x = x, .parts = parts});
    return parts;
  }

  // dx is the cotangents side by side.
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    Tensors parts;
    for (std::size_t i = 0; i < widths_.size(); ++i) {
      parts.push_back(pullback.dy(i));
    }
    const TensorFacts& x = node.facts(0);
    Tensor dx = ctx.empty(x.shape.with_first(pullback.basis_size()), x.dtype);
    launch(ctx, Join{.parts = parts, .x = dx});
    pullback.give(0, dx);
  }

 private:
  std::vector<std::int64_t> widths_;
};

}  // namespace

Tensors split(Context& ctx, const Tensor& x, std::span<const std::int64_t> widths) {
  bool is_positive = true;
  for (const std::int64_t width : widths) {
    is_positive = is_positive && width > 0;
  }
  const std::int64_t total = std::accumulate(widths.begin(), widths.end(), std::int64_t{0});
  GHOST_CHECK(is_positive && total == x.dim(-1),
              "split: x {} into parts of [{}]; expected positive widths that add up to {}",
              x.shape(), fmt::join(widths, ","), x.dim(-1));
  return ctx.run(std::make_shared<SplitOp>(widths), {x});
}

}  // namespace ghost
