#pragma once

#include "ops/attention.h"
#include "ops/cuda/common/mma_tile.cuh"

namespace ghost::cuda {

// What the tensor-core kernels of attention share: blocks of 4 warps, each warp with its own rows.

inline constexpr int kAttentionWarps = 4;
inline constexpr int kAttentionThreads = kAttentionWarps * kWarpSize;
inline constexpr float kLog2E = 1.4426950408889634F;

/// Sizes of a call. Offsets are of elements.
struct AttentionSizes {
  std::int64_t batch;
  int seq_len;
  int heads;
  int kv_heads;
  int head_dim;
  float scale;  // of scores

  __device__ __forceinline__ int group() const { return heads / kv_heads; }
  __device__ __forceinline__ int packed_width() const { return (heads + 2 * kv_heads) * head_dim; }
  __device__ __forceinline__ int width() const { return heads * head_dim; }

  // In qkv [B, T, (H + 2 Hkv) D]. `entry` counts batch entries, of all cotangents in dqkv.
  __device__ __forceinline__ std::int64_t query(std::int64_t entry, int head, int t) const {
    return (entry * seq_len + t) * packed_width() + std::int64_t{head} * head_dim;
  }
  __device__ __forceinline__ std::int64_t key(std::int64_t entry, int kv_head, int t) const {
    return query(entry, heads + kv_head, t);
  }
  __device__ __forceinline__ std::int64_t value(std::int64_t entry, int kv_head, int t) const {
    return query(entry, heads + kv_heads + kv_head, t);
  }
  /// In o [B, T, H D].
  __device__ __forceinline__ std::int64_t output(std::int64_t entry, int head, int t) const {
    return (entry * seq_len + t) * width() + std::int64_t{head} * head_dim;
  }
  /// In lse [B, H, T].
  __device__ __forceinline__ std::int64_t statistic(std::int64_t entry, int head, int t) const {
    return (entry * heads + head) * seq_len + t;
  }
};

inline AttentionSizes attention_sizes(const Tensor& qkv, const AttentionShape& shape) {
  return {.batch = qkv.dim(0),
          .seq_len = static_cast<int>(qkv.dim(1)),
          .heads = static_cast<int>(shape.heads),
          .kv_heads = static_cast<int>(shape.kv_heads),
          .head_dim = static_cast<int>(shape.head_dim),
          .scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim))};
}

/// Blocks of `rows` rows in a sequence.
__host__ __device__ constexpr int blocks_of(int seq_len, int rows) {
  return (seq_len + rows - 1) / rows;
}

template <int kTiles, int kColumnTiles>
__device__ __forceinline__ void set_zero(float (&sums)[kTiles][kColumnTiles][4]) {
#pragma unroll
  for (int r = 0; r < kTiles; ++r) {
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums[r][n][i] = 0.0F;
      }
    }
  }
}

/// x *= y, element by element.
template <int kTiles, int kColumnTiles>
__device__ __forceinline__ void multiply_elements(float (&x)[kTiles][kColumnTiles][4],
                                                  const float (&y)[kTiles][kColumnTiles][4]) {
#pragma unroll
  for (int r = 0; r < kTiles; ++r) {
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        x[r][n][i] *= y[r][n][i];
      }
    }
  }
}

}  // namespace ghost::cuda
