#pragma once

#include "engine/autograd/context.h"

namespace ghost {

/// Heads of an attention layer over packed projections.
struct AttentionShape {
  std::int64_t heads = 1;     // query heads H
  std::int64_t kv_heads = 1;  // key and value heads; divides `heads`, each serves heads / kv_heads
  std::int64_t head_dim = 1;  // D

  std::int64_t packed_width() const { return (heads + 2 * kv_heads) * head_dim; }
  std::int64_t width() const { return heads * head_dim; }
};

/// Causal self-attention, blocked with an online softmax: no [T, T] buffer exists.
///
///   o_t = sum over s <= t of softmax_s(q_t . k_s / sqrt(D)) v_s,   per head
///
/// qkv     [B, T, (H + 2 Hkv) D]  query heads, then key heads, then value heads; f32, on a CPU
///         also f64, on a GPU also bf16
/// returns o [B, T, H D]
/// keeps   qkv (attention_qkv), o (attention_output), log-sum-exp [B, H, T] (statistic; f32 of
/// bf16) throws  ghost::Error when the last dimension or the head counts do not fit source  Vaswani
/// et al. 2017, arXiv:1706.03762; blocking as in Dao 2023, arXiv:2307.08691
Tensor attention(Context& ctx, const Tensor& qkv, const AttentionShape& shape);

/// Keys and values of the tokens so far.
struct KvCache {
  Tensor keys;    // [B, T_max, Hkv D]
  Tensor values;  // [B, T_max, Hkv D]
  std::int64_t length = 0;
};

/// Room for `max_length` tokens.
KvCache make_kv_cache(Context& ctx, const AttentionShape& shape, std::int64_t batch,
                      std::int64_t max_length, DType dtype);

/// Attention of T new tokens over the cache and themselves; appends them to the cache. Not
/// recorded: for generation. Equals `attention` over the whole sequence, to rounding.
/// throws  ghost::Error when the cache has no room for T more tokens
Tensor cached_attention(Context& ctx, const Tensor& qkv, const AttentionShape& shape,
                        KvCache& cache);

}  // namespace ghost
