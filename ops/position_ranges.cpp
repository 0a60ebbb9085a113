#include "ops/position_ranges.h"

#include "engine/autograd/pullback.h"
#include "ops/position_ranges_kernels.h"

namespace ghost {
namespace {

// The only lines of these ops that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::position_ranges(args); }, [&] { cuda::position_ranges(args); });
}

Shape with_positions(const Shape& shape, std::int64_t positions) {
  return {shape[0], positions, shape[2]};
}

class MeanOverPositions final : public Op {
 public:
  explicit MeanOverPositions(PositionRanges ranges) : ranges_(std::move(ranges)) {}

  std::string_view name() const override { return "mean_over_positions"; }
  ResidualSpecs residuals() const override { return {}; }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    const auto slots = static_cast<std::int64_t>(ranges_.size());
    Tensor y = ctx.empty(with_positions(x.shape(), slots), x.dtype());
    launch(ctx, SumOverRanges{.x = x, .v = y, .ranges = ranges_, .weight = RangeWeight::kMean});
    return {y};
  }

  // dx[t] = sum over s with t in ranges[s] of dy[s] / size of the range
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const TensorFacts& x = node.facts(0);
    Tensor dx = ctx.empty(x.shape.with_first(pullback.basis_size()), x.dtype);
    launch(
        ctx,
        AddToRanges{
            .x = {}, .v = pullback.dy(), .y = dx, .ranges = ranges_, .weight = RangeWeight::kMean});
    pullback.give(0, dx);
  }

 private:
  PositionRanges ranges_;
};

class AddToPositions final : public Op {
 public:
  explicit AddToPositions(PositionRanges ranges) : ranges_(std::move(ranges)) {}

  std::string_view name() const override { return "add_to_positions"; }
  ResidualSpecs residuals() const override { return {}; }

  Tensors forward(Context& ctx, Node& node) const override {
    Tensor y = ctx.empty_like(node.input(0));
    launch(ctx, AddToRanges{.x = node.input(0),
                            .v = node.input(1),
                            .y = y,
                            .ranges = ranges_,
                            .weight = RangeWeight::kOne});
    return {y};
  }

  // dx = dy, dv[s] = sum over t in ranges[s] of dy[t]
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    pullback.give(0, dy);
    if (pullback.wanted(1)) {
      const TensorFacts& v = node.facts(1);
      Tensor dv = ctx.empty(v.shape.with_first(pullback.basis_size()), v.dtype);
      launch(ctx, SumOverRanges{.x = dy, .v = dv, .ranges = ranges_, .weight = RangeWeight::kOne});
      pullback.give(1, dv);
    }
  }

 private:
  PositionRanges ranges_;
};

void check_ranges(std::string_view op, const Tensor& x, const PositionRanges& ranges,
                  std::int64_t least_size) {
  GHOST_CHECK(x.shape().rank() == 3, "{}: x is {}; expected [B,T,C]", op, x.shape());
  GHOST_CHECK(!ranges.empty(), "{}: no range of positions; expected at least one", op);
  for (const PositionRange& range : ranges) {
    GHOST_CHECK(range.begin >= 0 && range.size() >= least_size && range.end <= x.dim(1),
                "{}: positions {} to {} (exclusive); expected {} in a sequence of {}", op,
                range.begin, range.end, least_size > 0 ? "at least one" : "a range", x.dim(1));
  }
}

}  // namespace

Tensor mean_over_positions(Context& ctx, const Tensor& x, const PositionRanges& ranges) {
  check_ranges("mean_over_positions", x, ranges, 1);
  return ctx.apply<MeanOverPositions>({x}, ranges);
}

Tensor add_to_positions(Context& ctx, const Tensor& x, const Tensor& v,
                        const PositionRanges& ranges) {
  check_ranges("add_to_positions", x, ranges, 0);
  const Shape expected = with_positions(x.shape(), static_cast<std::int64_t>(ranges.size()));
  GHOST_CHECK(v.shape() == expected && v.dtype() == x.dtype(),
              "shape mismatch in add_to_positions: x {} against v {} of {}; expected v to be {} of "
              "{}",
              x.shape(), v.shape(), dtype_name(v.dtype()), expected, dtype_name(x.dtype()));
  return ctx.apply<AddToPositions>({x, v}, ranges);
}

}  // namespace ghost
