#include "ops/embedding.h"

#include "engine/autograd/pullback.h"
#include "ops/embedding_kernels.h"

namespace ghost {
namespace {

// The only lines of these ops that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::embedding(args); }, [&] { cuda::embedding(args); });
}
void launch(const Context& ctx, EmbeddingBackward args) {
  dispatch(
      ctx, [&] { cpu::embedding(args); },
      [&] {
        args.workspace = ctx.empty({cuda::embedding_workspace(args)}, DType::kU8);
        cuda::embedding(args);
      });
}

Shape with_channels(const Shape& shape, std::int64_t channels) {
  std::vector<std::int64_t> dims(shape.dims().begin(), shape.dims().end());
  dims.push_back(channels);
  return Shape(dims);
}

class Embedding final : public Op {
 public:
  std::string_view name() const override { return "embedding"; }
  ResidualSpecs residuals() const override { return {{"tokens", Role::kIndex}}; }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& tokens = node.input(0);
    const Tensor& table = node.input(1);
    Tensor y = ctx.empty(with_channels(tokens.shape(), table.dim(1)), table.dtype());
    launch(ctx, EmbeddingForward{.tokens = tokens, .table = table, .y = y});
    node.keep("tokens", tokens);
    return {y};
  }

  // dtable[v] = sum of dy over the positions that hold token v
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    if (!pullback.wanted(1)) {
      return;
    }
    const GradientTarget target = pullback.sparse_target(1);
    launch(ctx, EmbeddingBackward{.tokens = node.residual("tokens"),
                                  .dy = pullback.dy(),
                                  .dtable = target.grad,
                                  .accumulate_dtable = target.accumulate,
                                  .zeros = target.zeros,
                                  .offset = target.offset});
  }
};

class PositionEmbedding final : public Op {
 public:
  explicit PositionEmbedding(std::int64_t start) : start_(start) {}

  std::string_view name() const override { return "position_embedding"; }
  ResidualSpecs residuals() const override { return {}; }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    Tensor y = ctx.empty_like(x);
    launch(ctx, PositionEmbeddingForward{.x = x, .table = node.input(1), .y = y, .start = start_});
    return {y};
  }

  // dx = dy,   dtable[start + t] = sum over b of dy[b, t]
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    if (pullback.wanted(1)) {
      const GradientTarget target = pullback.target(1);
      launch(ctx, PositionEmbeddingBackward{.dy = dy,
                                            .dtable = target.grad,
                                            .seq_len = node.facts(0).shape[1],
                                            .start = start_,
                                            .accumulate_dtable = target.accumulate});
    }
    pullback.give(0, dy);
  }

 private:
  std::int64_t start_;
};

}  // namespace

Tensor embedding(Context& ctx, const Tensor& tokens, const Tensor& table) {
  GHOST_CHECK(tokens.dtype() == DType::kI32, "embedding: tokens are {}; expected i32",
              dtype_name(tokens.dtype()));
  GHOST_CHECK(table.shape().rank() == 2, "embedding: table is {}; expected [vocab_size, channels]",
              table.shape());
  return ctx.apply<Embedding>({tokens, table});
}

Tensor position_embedding(Context& ctx, const Tensor& x, const Tensor& table, std::int64_t start) {
  GHOST_CHECK(x.shape().rank() == 3 && table.shape().rank() == 2 && x.dim(2) == table.dim(1),
              "shape mismatch in position_embedding: x {} against table {}; expected [B,T,C] and "
              "[max_T,C]",
              x.shape(), table.shape());
  GHOST_CHECK(x.dtype() == table.dtype(),
              "dtype mismatch in position_embedding: x {} against table {}; expected one dtype",
              dtype_name(x.dtype()), dtype_name(table.dtype()));
  GHOST_CHECK(start >= 0 && start + x.dim(1) <= table.dim(0),
              "position_embedding: {} positions from {} on against a table of {}; expected start + "
              "seq_len to be at most {}",
              x.dim(1), start, table.dim(0), table.dim(0));
  return ctx.apply<PositionEmbedding>({x, table}, start);
}

}  // namespace ghost
