#include "ops/linear_cross_entropy.h"

#include <algorithm>

#include "engine/autograd/pullback.h"
#include "ops/linear_cross_entropy_kernels.h"

namespace ghost {
namespace {

// The only lines of this op that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(ctx, [&] { cpu::linear_cross_entropy(args); });
}

/// Rows whose logits exist at a time: at most 64 MiB of them, at least 16 rows.
Tensor chunk_of_logits(const Context& ctx, std::int64_t rows, std::int64_t vocab_size,
                       DType dtype) {
  constexpr std::int64_t kChunkBytes = std::int64_t{64} << 20;
  const std::int64_t fitting = kChunkBytes / (vocab_size * itemsize(dtype)) / 16 * 16;
  const std::int64_t chunk = std::min(rows, std::max<std::int64_t>(fitting, 16));
  return ctx.empty({chunk, vocab_size}, dtype);
}

class LinearCrossEntropy final : public Op {
 public:
  explicit LinearCrossEntropy(const CrossEntropyOptions& options) : options_(options) {}

  std::string_view name() const override { return "linear_cross_entropy"; }
  ResidualSpecs residuals() const override {
    return {{"x", Role::kLinearInput},
            {"weight", Role::kParameter},
            {"targets", Role::kIndex},
            {"lse", Role::kStatistic}};
  }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    const Tensor& weight = node.input(1);
    const Tensor& targets = node.input(2);
    const std::int64_t rows = targets.numel();
    Tensor loss = ctx.empty({1}, x.dtype());
    Tensor lse = ctx.empty({rows}, x.dtype());
    ctx.count_gemm({.m = rows, .n = weight.dim(0), .k = weight.dim(1)});
    launch(ctx,
           LinearCrossEntropyForward{.x = x,
                                     .weight = weight,
                                     .targets = targets,
                                     .lse = lse,
                                     .losses = ctx.empty({rows}, x.dtype()),
                                     .logits = chunk_of_logits(ctx, rows, weight.dim(0), x.dtype()),
                                     .loss = loss,
                                     .ignore_index = options_.ignore_index,
                                     .vocab_size = options_.vocab_size});
    node.keep("x", x);
    node.keep("weight", weight);
    node.keep("targets", targets);
    node.keep("lse", lse);
    return {loss};
  }

  // With p = exp(logits - lse) and n counted rows: dlogits = dloss / n * (p - onehot(target)),
  //   dx = dlogits weight,   dweight = dlogits^T x
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor x = node.residual("x");
    const Tensor weight = node.residual("weight");
    const Tensor targets = node.residual("targets");
    const GemmShape logits_shape{.m = targets.numel(), .n = weight.dim(0), .k = weight.dim(1)};
    LinearCrossEntropyBackward args{
        .x = x,
        .weight = weight,
        .targets = targets,
        .lse = node.residual("lse"),
        .dloss = pullback.dy(),
        .logits = chunk_of_logits(ctx, targets.numel(), weight.dim(0), x.dtype()),
        .ignore_index = options_.ignore_index,
        .vocab_size = options_.vocab_size};
    ctx.count_gemm(logits_shape);
    if (pullback.wanted(0)) {
      args.dx = ctx.empty(x.shape().with_first(pullback.basis_size()), x.dtype());
      ctx.count_gemm({.m = logits_shape.m, .n = logits_shape.k, .k = logits_shape.n});
    }
    if (pullback.wanted(1)) {
      const GradientTarget target = pullback.target(1);
      args.dweight = target.grad;
      args.accumulate_dweight = target.accumulate;
      ctx.count_gemm({.m = logits_shape.n, .n = logits_shape.k, .k = logits_shape.m});
    }
    launch(ctx, args);
    pullback.give(0, args.dx);
  }

 private:
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
