#include "ops/attention.h"

#include "engine/autograd/pullback.h"
#include "ops/attention_kernels.h"

namespace ghost {
namespace {

// The only lines of this op that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::attention(args); }, [&] { cuda::attention(args); });
}

// Scratch of the CPU's kernels; those of a GPU need none.
Tensor workspace_for(const Context& ctx, const Shape& shape, DType dtype) {
  return ctx.device().is_cuda() ? Tensor{} : ctx.empty(shape, statistic_dtype(dtype));
}

class Attention final : public Op {
 public:
  explicit Attention(const AttentionShape& shape) : shape_(shape) {}

  std::string_view name() const override { return "attention"; }
  ResidualSpecs residuals() const override {
    return {{"qkv", Role::kAttentionQkv}, {"o", Role::kAttentionOutput}, {"lse", Role::kStatistic}};
  }

  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& qkv = node.input(0);
    const std::int64_t batch = qkv.dim(0);
    const std::int64_t seq_len = qkv.dim(1);
    Tensor o = ctx.empty({batch, seq_len, shape_.width()}, qkv.dtype());
    Tensor lse = ctx.empty({batch, shape_.heads, seq_len}, statistic_dtype(qkv.dtype()));
    const std::int64_t scratch =
        cpu::attention_forward_workspace(shape_, batch, seq_len, qkv.dtype());
    launch(ctx, AttentionForward{.qkv = qkv,
                                 .o = o,
                                 .lse = lse,
                                 .workspace = workspace_for(ctx, {scratch}, qkv.dtype()),
                                 .shape = shape_});
    node.keep("qkv", qkv);
    node.keep("o", o);
    node.keep("lse", lse);
    return {o};
  }

  // With P = exp(scale q k^T - lse), dP = do v^T, delta = rowsum(do * o), dS = P * (dP - delta):
  //   dq = scale dS k,   dk = scale dS^T q,   dv = P^T do
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dout = pullback.dy();
    const Tensor qkv = node.residual("qkv");
    const Tensor lse = node.residual("lse");
    Tensor dqkv = ctx.empty(qkv.shape().with_first(dout.dim(0)), qkv.dtype());
    const std::int64_t scratch =
        cpu::attention_backward_workspace(shape_, qkv.dim(0), qkv.dim(1), dout.dim(0), qkv.dtype());
    launch(ctx,
           AttentionBackward{.qkv = qkv,
                             .o = node.residual("o"),
                             .lse = lse,
                             .dout = dout,
                             .dqkv = dqkv,
                             .delta = ctx.empty(lse.shape().with_first(dout.dim(0)), lse.dtype()),
                             .workspace = workspace_for(ctx, {scratch}, qkv.dtype()),
                             .shape = shape_});
    pullback.give(0, dqkv);
  }

 private:
  AttentionShape shape_;
};

void check_shapes(const Tensor& qkv, const AttentionShape& shape) {
  GHOST_CHECK(shape.heads > 0 && shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0,
              "attention: {} heads over {} key-value heads; expected a multiple", shape.heads,
              shape.kv_heads);
  GHOST_CHECK(qkv.shape().rank() == 3 && qkv.dim(-1) == shape.packed_width(),
              "shape mismatch in attention: qkv {}; expected [B,T,{}] for {} + 2 x {} heads of {}",
              qkv.shape(), shape.packed_width(), shape.heads, shape.kv_heads, shape.head_dim);
}

}  // namespace

Tensor attention(Context& ctx, const Tensor& qkv, const AttentionShape& shape) {
  check_shapes(qkv, shape);
  return ctx.apply<Attention>({qkv}, shape);
}

KvCache make_kv_cache(Context& ctx, const AttentionShape& shape, std::int64_t batch,
                      std::int64_t max_length, DType dtype) {
  const Shape size{batch, max_length, shape.kv_heads * shape.head_dim};
  return {.keys = ctx.empty(size, dtype), .values = ctx.empty(size, dtype)};
}

Tensor cached_attention(Context& ctx, const Tensor& qkv, const AttentionShape& shape,
                        KvCache& cache) {
  check_shapes(qkv, shape);
  const std::int64_t seq_len = qkv.dim(1);
  GHOST_CHECK(cache.length + seq_len <= cache.keys.dim(1),
              "cached_attention: {} more tokens after {}; the cache holds {}", seq_len,
              cache.length, cache.keys.dim(1));
  Tensor o = ctx.empty({qkv.dim(0), seq_len, shape.width()}, qkv.dtype());
  launch(ctx, CachedAttention{.qkv = qkv,
                              .keys = cache.keys,
                              .values = cache.values,
                              .o = o,
                              .workspace = workspace_for(
                                  ctx, {qkv.dim(0), shape.heads, cache.keys.dim(1)}, qkv.dtype()),
                              .start = cache.length,
                              .shape = shape});
  cache.length += seq_len;
  return o;
}

}  // namespace ghost
