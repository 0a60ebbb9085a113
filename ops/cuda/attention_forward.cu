#include <cmath>
#include <cuda_runtime.h>

#include "engine/device/cuda/dtype.cuh"
#include "engine/device/cuda/stream.h"
#include "ops/cuda/attention_paths.h"
#include "ops/cuda/attention_tiles.cuh"

namespace ghost::cuda {
namespace {

constexpr int kRowTiles = 2;  // of 16 queries, per warp: each key operand serves two products
constexpr int kWarpQueries = 16 * kRowTiles;
constexpr int kQueries = kAttentionWarps * kWarpQueries;

/// Keys of a step: what the output of wide heads leaves of 255 registers.
template <int kHeadDim>
constexpr int kStepKeys = kHeadDim > 64 ? 32 : 64;

template <int kHeadDim>
constexpr int kForwardBytes = 2 * kHeadDim*(kQueries + 2 * 2 * kStepKeys<kHeadDim>);

/// Softmax of a warp's rows so far. A lane has rows lane / 4 and lane / 4 + 8 of each tile, as
/// accumulators do; `sum` is of its own columns only.
struct RunningSoftmax {
  float maximum[kRowTiles][2];
  float sum[kRowTiles][2];
};

// Scores become exp(scale (score - maximum)); the output so far shrinks to the new maximum. Key 0
// is in the first block and every row sees it, so that no maximum stays at minus infinity.
template <int kHeadDim, int kKeys>
__device__ __forceinline__ void softmax_step(float (&scores)[kRowTiles][kKeys / 8][4],
                                             float (&out)[kRowTiles][kHeadDim / 8][4],
                                             RunningSoftmax& state, float scale_log2) {
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float largest = state.maximum[r][half];
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
        largest = fmaxf(largest, fmaxf(scores[r][n][2 * half], scores[r][n][2 * half + 1]));
      }
      largest = fmaxf(largest, __shfl_xor_sync(kFullWarp, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(kFullWarp, largest, 2));
      const float shrink = fast_exp2((state.maximum[r][half] - largest) * scale_log2);
      const float offset = largest * scale_log2;
      float sum = 0.0F;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          scores[r][n][i] = fast_exp2(fmaf(scores[r][n][i], scale_log2, -offset));
          sum += scores[r][n][i];
        }
      }
      state.maximum[r][half] = largest;
      state.sum[r][half] = state.sum[r][half] * shrink + sum;
#pragma unroll
      for (int n = 0; n < kHeadDim / 8; ++n) {
        out[r][n][2 * half] *= shrink;
        out[r][n][2 * half + 1] *= shrink;
      }
    }
  }
}

// FlashAttention-2 (Dao 2023, arXiv:2307.08691, algorithm 1), causal. A block has 128 queries of
// one head, a warp 32 of them; keys and values pass in blocks, the next being copied while
// one is used. One barrier a step: behind it the block of keys has arrived for all, and nobody
// reads any more from where the next goes. The last queries of a head see the most keys and start
// first; blocks of a head are neighbours, so their keys come from L2.
// Launch: 128 threads, one block for each block of queries of each head, kForwardBytes shared.
template <int kHeadDim>
__global__ void __launch_bounds__(kAttentionThreads, 2)
    attend_query_block(const __nv_bfloat16* __restrict__ qkv, __nv_bfloat16* __restrict__ o,
                       float* __restrict__ lse, AttentionSizes sizes) {
  extern __shared__ __align__(256) std::uint8_t shared[];
  using Tile = MmaTile<kHeadDim>;
  constexpr int kKeys = kStepKeys<kHeadDim>;
  constexpr int kStageBytes = kKeys * Tile::kRowBytes;
  const Tile queries(shared);
  std::uint8_t* stages = shared + kQueries * Tile::kRowBytes;

  const int seq_len = sizes.seq_len;
  const int num_blocks = blocks_of(seq_len, kQueries);
  const int q0 = (num_blocks - 1 - static_cast<int>(blockIdx.x) % num_blocks) * kQueries;
  const int head_index = static_cast<int>(blockIdx.x) / num_blocks;  // of B H
  const int head = head_index % sizes.heads;
  const int entry = head_index / sizes.heads;
  const int kv_head = head / sizes.group();
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp_row = static_cast<int>(threadIdx.x) / kWarpSize * kWarpQueries;
  const int first_query = q0 + warp_row;
  const float scale_log2 = sizes.scale * kLog2E;

  const auto copy_keys = [&](int block) {
    const int k0 = block * kKeys;
    std::uint8_t* stage = stages + block % 2 * 2 * kStageBytes;
    Tile(stage).template copy_async<kKeys, kAttentionThreads>(qkv + sizes.key(entry, kv_head, k0),
                                                              sizes.packed_width(), seq_len - k0);
    Tile(stage + kStageBytes)
        .template copy_async<kKeys, kAttentionThreads>(qkv + sizes.value(entry, kv_head, k0),
                                                       sizes.packed_width(), seq_len - k0);
  };
  queries.template copy_async<kQueries, kAttentionThreads>(qkv + sizes.query(entry, head, q0),
                                                           sizes.packed_width(), seq_len - q0);
  copy_keys(0);

  float out[kRowTiles][kHeadDim / 8][4];
  set_zero(out);
  RunningSoftmax state;
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      state.maximum[r][half] = -INFINITY;
      state.sum[r][half] = 0.0F;
    }
  }

  const int num_key_blocks = blocks_of(min(q0 + kQueries, seq_len), kKeys);
  for (int block = 0; block < num_key_blocks; ++block) {
    wait_for_copies();
    __syncthreads();
    if (block + 1 < num_key_blocks) {
      copy_keys(block + 1);
    }
    const int k0 = block * kKeys;
    if (k0 >= first_query + kWarpQueries) {
      continue;  // all later than the queries of this warp
    }
    const Tile keys(stages + block % 2 * 2 * kStageBytes);
    const Tile values(stages + block % 2 * 2 * kStageBytes + kStageBytes);

    float scores[kRowTiles][kKeys / 8][4];
    set_zero(scores);
    multiply_transposed(scores, queries, warp_row, keys, 0);
    if (k0 + kKeys - 1 > first_query) {
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const int query = first_query + 16 * r + accumulator_row(lane, i);
            if (k0 + 8 * n + accumulator_column(lane, i) > query) {
              scores[r][n][i] = -INFINITY;
            }
          }
        }
      }
    }
    softmax_step<kHeadDim, kKeys>(scores, out, state, scale_log2);
    std::uint32_t weights[kRowTiles][kKeys / 16][4];
    to_operands(scores, weights);
    multiply(out, weights, values, 0);
  }

  // A warp's queries are read by no other, so their place holds its output on the way out.
  __syncwarp();
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
    float inverse[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = state.sum[r][half];
      sum += __shfl_xor_sync(kFullWarp, sum, 1);
      sum += __shfl_xor_sync(kFullWarp, sum, 2);
      inverse[half] = 1.0F / sum;
      const int query = first_query + 16 * r + accumulator_row(lane, 2 * half);
      if (lse != nullptr && lane % 4 == 0 && query < seq_len) {
        lse[sizes.statistic(entry, head, query)] = state.maximum[r][half] * sizes.scale + logf(sum);
      }
    }
    queries.put(warp_row + 16 * r, out[r], inverse[0], inverse[1]);
  }
  __syncwarp();
  queries.template store<kWarpQueries>(warp_row, o + sizes.output(entry, head, first_query),
                                       sizes.width(), seq_len - first_query);
}

template <int kHeadDim>
void launch(const AttentionForward& args) {
  const AttentionSizes sizes = attention_sizes(args.qkv, args.shape);
  const std::int64_t num_blocks = blocks_of(sizes.seq_len, kQueries) * sizes.batch * sizes.heads;
  check(cudaFuncSetAttribute(attend_query_block<kHeadDim>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, kForwardBytes<kHeadDim>),
        "cudaFuncSetAttribute");
  attend_query_block<kHeadDim>
      <<<static_cast<unsigned>(num_blocks), kAttentionThreads, kForwardBytes<kHeadDim>,
         stream_of(args.qkv)>>>(elements<__nv_bfloat16>(args.qkv), elements<__nv_bfloat16>(args.o),
                                elements<float>(args.lse), sizes);
  check_launch("attend_query_block");
}

}  // namespace

void attention_by_tiles(const AttentionForward& args) {
  switch (args.shape.head_dim) {
    case 32:
      return launch<32>(args);
    case 64:
      return launch<64>(args);
    default:
      return launch<128>(args);
  }
}

}  // namespace ghost::cuda
