#include "ops/linear_cross_entropy.h"

#include <algorithm>

#include "engine/autograd/pullback.h"
#include "engine/tensor/primitives.h"
#include "ops/linear_cross_entropy_kernels.h"
#include "ops/linear_kernels.h"
#include "ops/row_sketch.h"

namespace ghost {
namespace {

// The only lines of this op that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(ctx, [&] {
    if constexpr (requires { cpu::linear(args); }) {
      cpu::linear(args);
    } else {
      cpu::linear_cross_entropy(args);
    }
  });
}

/// Rows whose logits exist at a time: at most 64 MiB of them, at least 16 rows.
std::int64_t rows_of_chunk(std::int64_t rows, std::int64_t vocab_size, DType dtype) {
  constexpr std::int64_t kChunkBytes = std::int64_t{64} << 20;
  const std::int64_t fitting = kChunkBytes / (vocab_size * itemsize(dtype)) / 16 * 16;
  return std::min(rows, std::max<std::int64_t>(fitting, 16));
}

/// x [..., C] as [rows, C], off the tape.
Tensor as_rows(const Tensor& x, std::int64_t rows) { return x.reshape({rows, x.dim(-1)}).detach(); }

class LinearCrossEntropy final : public Op {
 public:
  explicit LinearCrossEntropy(const CrossEntropyOptions& options) : options_(options) {}

  std::string_view name() const override { return "linear_cross_entropy"; }
  ResidualSpecs residuals() const override {
    return {{"x", Role::kLinearInput},        {"weight", Role::kParameter},
            {"targets", Role::kIndex},        {"lse", Role::kStatistic},
            {"dlogits", Role::kLossGradient}, {"dx", Role::kLossGradient}};
  }

  // Which way backward will go is settled here:
  //   a sketched weight gradient   dx and the sketch of dlogits are formed now, chunk by chunk
  //   all logits fit into a chunk  they become dlogits, which are kept
  //   otherwise                    x and log-sum-exps are kept and each chunk is made again
  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& weight = node.input(1);
    const std::int64_t rows = node.input(2).numel();
    const Tensor x = as_rows(node.input(0), rows);
    const Tensor targets = node.input(2).reshape({rows});
    const std::int64_t chunk = rows_of_chunk(rows, weight.dim(0), x.dtype());
    const bool is_sketched = node.is_recorded_input(1) && node.wants_sketch();
    const bool makes_gradient = node.is_recorded() && (is_sketched || chunk == rows);
    std::int64_t count = 1;
    launch(ctx, CrossEntropyCount{.targets = targets,
                                  .ignore_index = options_.ignore_index,
                                  .vocab_size = options_.vocab_size,
                                  .count = &count});
    if (makes_gradient) {
      keep_linear_input(ctx, node, "x", node.input(0));
    } else {
      node.keep("x", node.input(0));
    }
    std::shared_ptr<GradientSketch> sketch;
    Tensor dx;
    if (is_sketched) {
      sketch = std::make_shared<GradientSketch>(ctx, kept_sketch(node, "x"), weight.dim(0));
      dx = ctx.empty(x.shape(), x.dtype());
      ctx.count_gemm({.m = rows, .n = weight.dim(1), .k = weight.dim(0)});
    }
    const Tensor logits = ctx.empty({chunk, weight.dim(0)}, x.dtype());
    const Tensor lse = ctx.empty({rows}, x.dtype());
    const Tensor losses = ctx.empty({rows}, x.dtype());
    ctx.count_gemm({.m = rows, .n = weight.dim(0), .k = weight.dim(1)});
    for (std::int64_t begin = 0; begin < rows; begin += chunk) {
      const std::int64_t end = std::min(rows, begin + chunk);
      const Tensor piece = logits.slice(0, end - begin);
      launch(ctx, LinearForward{.x = x.slice(begin, end), .weight = weight, .y = piece});
      launch(ctx, CrossEntropyLoss{.logits = piece,
                                   .targets = targets.slice(begin, end),
                                   .lse = lse.slice(begin, end),
                                   .losses = losses.slice(begin, end),
                                   .ignore_index = options_.ignore_index,
                                   .vocab_size = options_.vocab_size,
                                   .makes_gradient = makes_gradient,
                                   .scale = 1.0 / static_cast<double>(count)});
      if (is_sketched) {
        launch(ctx, LinearInputBackward{.dy = piece, .weight = weight, .dx = dx.slice(begin, end)});
        sketch->add(ctx, piece, begin);
      }
    }
    const Tensor loss = ctx.empty({1}, x.dtype());
    launch(ctx, CrossEntropyMean{.losses = losses, .loss = loss, .count = count});

    node.keep("weight", weight);
    node.keep("targets", makes_gradient ? Tensor{} : node.input(2));
    node.keep("lse", makes_gradient ? Tensor{} : lse);
    node.keep("dx", dx);
    if (is_sketched) {
      node.keep_sketch("dlogits", sketch);
    } else {
      node.keep("dlogits", makes_gradient ? logits : Tensor{});
    }
    return {loss};
  }

  // With p = exp(logits - lse) and n counted rows: dlogits = dloss / n * (p - onehot(target)),
  //   dx = dlogits weight,   dweight = dlogits^T x
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    if (const auto sketch = kept_gradient(node, "dlogits")) {
      if (pullback.wanted(1)) {
        sketch->write(ctx, pullback.target(1), node.module(), item(pullback.dy()));
      }
      give_dx(ctx, node, pullback, node.residual("dx"));
    } else if (const Tensor dlogits = node.residual("dlogits"); dlogits.defined()) {
      backward_from(ctx, node, pullback, dlogits);
    } else {
      backward_in_chunks(ctx, node, pullback);
    }
  }

 private:
  /// dx for a loss cotangent of 1, times those there are.
  static void give_dx(Context& ctx, const Node& node, Pullback& pullback, const Tensor& unit) {
    if (pullback.wanted(0)) {
      const TensorFacts& x = node.facts(0);
      Tensor dx = ctx.empty(x.shape.with_first(pullback.basis_size()), x.dtype);
      launch(ctx, CrossEntropyScale{.dloss = pullback.dy(), .x = unit, .out = dx});
      pullback.give(0, dx);
    }
  }

  static void backward_from(Context& ctx, const Node& node, Pullback& pullback,
                            const Tensor& dlogits) {
    const Tensor weight = node.residual("weight");
    const std::int64_t rows = dlogits.dim(0);
    if (pullback.wanted(1)) {
      const GradientTarget target = pullback.target(1);
      ctx.count_gemm({.m = weight.dim(0), .n = weight.dim(1), .k = rows});
      launch(ctx, LinearWeightBackward{.dy = dlogits,
                                       .x = as_rows(node.residual("x"), rows),
                                       .dweight = target.grad,
                                       .accumulate = target.accumulate,
                                       .alpha = item(pullback.dy())});
    }
    if (pullback.wanted(0)) {
      const Tensor unit = ctx.empty({rows, weight.dim(1)}, dlogits.dtype());
      ctx.count_gemm({.m = rows, .n = weight.dim(1), .k = weight.dim(0)});
      launch(ctx, LinearInputBackward{.dy = dlogits, .weight = weight, .dx = unit});
      give_dx(ctx, node, pullback, unit);
    }
  }

  void backward_in_chunks(Context& ctx, const Node& node, Pullback& pullback) const {
    const Tensor weight = node.residual("weight");
    const std::int64_t rows = node.facts(2).shape.numel();
    const Tensor x = as_rows(node.residual("x"), rows);
    const Tensor targets = node.residual("targets").reshape({rows});
    const Tensor lse = node.residual("lse");
    const std::int64_t chunk = rows_of_chunk(rows, weight.dim(0), x.dtype());
    const Tensor logits = ctx.empty({chunk, weight.dim(0)}, x.dtype());
    std::int64_t count = 1;
    launch(ctx, CrossEntropyCount{.targets = targets,
                                  .ignore_index = options_.ignore_index,
                                  .vocab_size = options_.vocab_size,
                                  .count = &count});
    ctx.count_gemm({.m = rows, .n = weight.dim(0), .k = weight.dim(1)});
    Tensor unit;
    if (pullback.wanted(0)) {
      unit = ctx.empty(x.shape(), x.dtype());
      ctx.count_gemm({.m = rows, .n = weight.dim(1), .k = weight.dim(0)});
    }
    GradientTarget target;
    if (pullback.wanted(1)) {
      target = pullback.target(1);
      ctx.count_gemm({.m = weight.dim(0), .n = weight.dim(1), .k = rows});
    }
    for (std::int64_t begin = 0; begin < rows; begin += chunk) {
      const std::int64_t end = std::min(rows, begin + chunk);
      const Tensor piece = logits.slice(0, end - begin);
      launch(ctx, LinearForward{.x = x.slice(begin, end), .weight = weight, .y = piece});
      launch(ctx, CrossEntropyGradient{.logits = piece,
                                       .targets = targets.slice(begin, end),
                                       .lse = lse.slice(begin, end),
                                       .ignore_index = options_.ignore_index,
                                       .vocab_size = options_.vocab_size,
                                       .scale = 1.0 / static_cast<double>(count)});
      if (unit.defined()) {
        launch(ctx,
               LinearInputBackward{.dy = piece, .weight = weight, .dx = unit.slice(begin, end)});
      }
      if (target.grad.defined()) {
        launch(ctx, LinearWeightBackward{.dy = piece,
                                         .x = x.slice(begin, end),
                                         .dweight = target.grad,
                                         .accumulate = target.accumulate || begin > 0,
                                         .alpha = item(pullback.dy())});
      }
    }
    if (unit.defined()) {
      give_dx(ctx, node, pullback, unit);
    }
  }

  CrossEntropyOptions options_;
};

}  // namespace

Tensor linear_cross_entropy(Context& ctx, const Tensor& x, const Tensor& weight,
                            const Tensor& targets, const CrossEntropyOptions& options) {
  GHOST_CHECK(weight.shape().rank() == 2 && x.dim(-1) == weight.dim(1),
              "shape mismatch in linear_cross_entropy: x {} against weight {}; expected the last "
              "dimension of x to equal {}",
              x.shape(), weight.shape(), weight.dim(-1));
  GHOST_CHECK(targets.dtype() == DType::kI32 && targets.numel() == x.numel() / x.dim(-1),
              "shape mismatch in linear_cross_entropy: x {} against targets {}; expected one i32 "
              "target a row",
              x.shape(), targets.shape());
  GHOST_CHECK(options.vocab_size >= 0 && options.vocab_size <= weight.dim(0),
              "linear_cross_entropy: vocab_size is {}; the weight has {} rows", options.vocab_size,
              weight.dim(0));
  CrossEntropyOptions known = options;
  if (known.vocab_size == 0) {
    known.vocab_size = weight.dim(0);
  }
  return ctx.apply<LinearCrossEntropy>({x, weight, targets}, known);
}

}  // namespace ghost
