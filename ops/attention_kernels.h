#pragma once

#include "engine/tensor/tensor.h"
#include "ops/attention.h"

namespace ghost {

struct AttentionForward {
  Tensor qkv;        // [B, T, (H + 2 Hkv) D]
  Tensor o;          // [B, T, H D]
  Tensor lse;        // [B, H, T] statistic_dtype
  Tensor workspace;  // CPU: attention_forward_workspace elements of statistic_dtype
  AttentionShape shape;
};

struct AttentionBackward {
  Tensor qkv;        // [B, T, (H + 2 Hkv) D]
  Tensor o;          // [B, T, H D]
  Tensor lse;        // [B, H, T] statistic_dtype
  Tensor dout;       // [P, B, T, H D]
  Tensor dqkv;       // [P, B, T, (H + 2 Hkv) D]
  Tensor delta;      // [P, B, H, T] statistic_dtype: rowsum(do * o)
  Tensor workspace;  // CPU: attention_backward_workspace elements of statistic_dtype
  AttentionShape shape;
};

struct CachedAttention {
  Tensor qkv;          // [B, T, (H + 2 Hkv) D]
  Tensor keys;         // [B, T_max, Hkv D], the new tokens are written to it
  Tensor values;       // [B, T_max, Hkv D]
  Tensor o;            // [B, T, H D]
  Tensor workspace;    // CPU: [B, H, T_max] scores in statistic_dtype
  std::int64_t start;  // tokens in the cache before these T
  AttentionShape shape;
};

namespace cpu {
/// Elements of scratch that all threads need together, for elements of `dtype`.
std::int64_t attention_forward_workspace(const AttentionShape& shape, std::int64_t batch,
                                         std::int64_t seq_len, DType dtype);
std::int64_t attention_backward_workspace(const AttentionShape& shape, std::int64_t batch,
                                          std::int64_t seq_len, std::int64_t basis, DType dtype);
void attention(const AttentionForward& args);
void attention(const AttentionBackward& args);
void attention(const CachedAttention& args);
}  // namespace cpu

namespace cuda {
void attention(const AttentionForward& args);
void attention(const AttentionBackward& args);
void attention(const CachedAttention& args);
}  // namespace cuda

}  // namespace ghost
