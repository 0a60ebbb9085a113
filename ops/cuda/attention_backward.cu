#include <algorithm>
#include <cmath>
#include <cuda_runtime.h>

#include "engine/device/cuda/dtype.cuh"
#include "engine/device/cuda/stream.h"
#include "ops/cuda/attention_paths.h"
#include "ops/cuda/attention_tiles.cuh"

namespace ghost::cuda {
namespace {

// With P = exp(scale q k^T - lse), dP = do v^T, dS = P * (dP - delta):
//   dv = P^T do,   dk = scale dS^T q,   dq = scale dS k
// One kernel owns keys and makes dk and dv, the other owns queries and makes dq. Each makes P
// itself: 7 products in place of 5, but nothing is added across blocks, so that every sum has a
// fixed order and two runs agree bit for bit. P is made once for a chunk of kBasis cotangents;
// kBasis is what the sums of a warp leave of 255 registers.

/// Shape of a block: 16 kRowTiles rows of its own a warp, kBasis cotangents at once, kStep rows of
/// the other side a step, kSlice of them at a time in registers.
template <int kTilesOfWarp, int kCotangents, int kRowsOfStep, int kRowsOfSlice>
struct BlockShape {
  static constexpr int kRowTiles = kTilesOfWarp;
  static constexpr int kBasis = kCotangents;
  static constexpr int kStep = kRowsOfStep;
  static constexpr int kSlice = kRowsOfSlice;
  static constexpr int kWarpRows = 16 * kRowTiles;
  static constexpr int kRows = kAttentionWarps * kWarpRows;
};

struct BackwardPointers {
  const __nv_bfloat16* __restrict__ qkv;
  const __nv_bfloat16* __restrict__ dout;
  const float* __restrict__ lse;
  const float* __restrict__ delta;
  __nv_bfloat16* __restrict__ dqkv;
};

template <typename Block, int kHeadDim>
constexpr int kKeyValueBytes = 2 * kHeadDim*(2 * Block::kRows +
                                             2 * (1 + Block::kBasis) * Block::kStep) +
                               4 * 2 * (1 + Block::kBasis) * Block::kStep;

// A block owns 64 or 128 keys of one key-value head and passes over the queries that see them: all
// query heads of its group in order, those of the same block last copied while one is used (as
// attend_query_block). Scores stand transposed, keys in rows: so P^T and dS^T come out of one
// product as the left operand of the next and never leave registers. Queries past the end have
// q = do = lse = delta = 0, which adds P * 0.
// Launch: 128 threads; x: one block for each block of keys of each key-value head, early keys,
// which most queries see, first; y: chunks of cotangents; kKeyValueBytes shared.
template <typename Block, int kHeadDim>
__global__ void __launch_bounds__(kAttentionThreads, 2)
    pull_back_to_keys(BackwardPointers data, AttentionSizes sizes, int basis) {
  extern __shared__ __align__(256) std::uint8_t shared[];
  using Tile = MmaTile<kHeadDim>;
  constexpr int kRowTiles = Block::kRowTiles;
  constexpr int kBasis = Block::kBasis;
  constexpr int kStep = Block::kStep;
  constexpr int kSlice = Block::kSlice;
  constexpr int kTileBytes = kStep * Tile::kRowBytes;
  constexpr int kStageBytes = (1 + kBasis) * kTileBytes;
  const Tile keys(shared);
  const Tile values(shared + Block::kRows * Tile::kRowBytes);
  std::uint8_t* stages = shared + 2 * Block::kRows * Tile::kRowBytes;
  float* statistics = reinterpret_cast<float*>(stages + 2 * kStageBytes);  // lse, deltas; 2 stages

  const int seq_len = sizes.seq_len;
  const int num_blocks = blocks_of(seq_len, Block::kRows);
  const int k0 = static_cast<int>(blockIdx.x) % num_blocks * Block::kRows;
  const int kv_index = static_cast<int>(blockIdx.x) / num_blocks;  // of B Hkv
  const int kv_head = kv_index % sizes.kv_heads;
  const int entry = kv_index / sizes.kv_heads;
  const int p0 = static_cast<int>(blockIdx.y) * kBasis;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp_row = static_cast<int>(threadIdx.x) / kWarpSize * Block::kWarpRows;
  const int first_key = k0 + warp_row;
  const float scale_log2 = sizes.scale * kLog2E;

  const int first_block = k0 / kStep;
  const int blocks_of_head = blocks_of(seq_len, kStep) - first_block;
  const int num_steps = blocks_of_head * sizes.group();
  const auto copy_queries = [&](int step) {
    const int head = kv_head * sizes.group() + step / blocks_of_head;
    const int q0 = (first_block + step % blocks_of_head) * kStep;
    std::uint8_t* stage = stages + step % 2 * kStageBytes;
    const std::uint32_t to = shared_address(statistics + step % 2 * (1 + kBasis) * kStep);
    Tile(stage).template copy_async<kStep, kAttentionThreads>(
        data.qkv + sizes.query(entry, head, q0), sizes.packed_width(), seq_len - q0);
    const int i = static_cast<int>(threadIdx.x);
    if (i < kStep) {
      copy_async_4(to + 4 * i, data.lse + sizes.statistic(entry, head, q0) + i, q0 + i < seq_len);
    }
#pragma unroll
    for (int p = 0; p < kBasis; ++p) {
      const std::int64_t of_p = (p0 + p) * sizes.batch + entry;
      const int num_rows = p0 + p < basis ? seq_len - q0 : 0;
      Tile(stage + (1 + p) * kTileBytes)
          .template copy_async<kStep, kAttentionThreads>(data.dout + sizes.output(of_p, head, q0),
                                                         sizes.width(), num_rows);
      if (i < kStep) {
        copy_async_4(to + 4 * ((1 + p) * kStep + i),
                     data.delta + sizes.statistic(of_p, head, q0) + i, i < num_rows);
      }
    }
  };
  keys.template copy_async<Block::kRows, kAttentionThreads>(
      data.qkv + sizes.key(entry, kv_head, k0), sizes.packed_width(), seq_len - k0);
  values.template copy_async<Block::kRows, kAttentionThreads>(
      data.qkv + sizes.value(entry, kv_head, k0), sizes.packed_width(), seq_len - k0);
  copy_queries(0);

  float dkeys[kBasis][kRowTiles][kHeadDim / 8][4];
  float dvalues[kBasis][kRowTiles][kHeadDim / 8][4];
#pragma unroll
  for (int p = 0; p < kBasis; ++p) {
    set_zero(dkeys[p]);
    set_zero(dvalues[p]);
  }

  for (int step = 0; step < num_steps; ++step) {
    wait_for_copies();
    __syncthreads();
    if (step + 1 < num_steps) {
      copy_queries(step + 1);
    }
    std::uint8_t* stage = stages + step % 2 * kStageBytes;
    const Tile queries(stage);
    const float* lse = statistics + step % 2 * (1 + kBasis) * kStep;
    const float* deltas = lse + kStep;
#pragma unroll 1
    for (int slice = 0; slice < kStep; slice += kSlice) {
      const int first_query = (first_block + step % blocks_of_head) * kStep + slice;
      if (first_query + kSlice <= first_key) {
        continue;  // they see no key of this warp
      }
      float weights[kRowTiles][kSlice / 8][4];  // P^T
      set_zero(weights);
      multiply_transposed(weights, keys, warp_row, queries, slice);
      const bool is_diagonal = first_query < first_key + Block::kWarpRows - 1;
#pragma unroll
      for (int n = 0; n < kSlice / 8; ++n) {
        const int column = 8 * n + accumulator_column(lane, 0);
        const float2 row_lse = *reinterpret_cast<const float2*>(lse + slice + column);
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float offset = (i % 2 == 0 ? row_lse.x : row_lse.y) * kLog2E;
            const bool is_seen = !is_diagonal || first_key + 16 * r + accumulator_row(lane, i) <=
                                                     first_query + column + i % 2;
            weights[r][n][i] =
                is_seen ? fast_exp2(fmaf(weights[r][n][i], scale_log2, -offset)) : 0.0F;
          }
        }
      }
      std::uint32_t operands[kRowTiles][kSlice / 16][4];
      to_operands(weights, operands);
#pragma unroll
      for (int p = 0; p < kBasis; ++p) {
        if (p > 0 && p0 + p >= basis) {
          break;
        }
        const Tile dout(stage + (1 + p) * kTileBytes);
        multiply(dvalues[p], operands, dout, slice);
        float dscores[kRowTiles][kSlice / 8][4];  // starts at -delta, so that the product adds dP
#pragma unroll
        for (int n = 0; n < kSlice / 8; ++n) {
          const float2 delta = *reinterpret_cast<const float2*>(deltas + p * kStep + slice + 8 * n +
                                                                accumulator_column(lane, 0));
#pragma unroll
          for (int r = 0; r < kRowTiles; ++r) {
            dscores[r][n][0] = dscores[r][n][2] = -delta.x;
            dscores[r][n][1] = dscores[r][n][3] = -delta.y;
          }
        }
        multiply_transposed(dscores, values, warp_row, dout, slice);
        multiply_elements(dscores, weights);
        std::uint32_t doperands[kRowTiles][kSlice / 16][4];
        to_operands(dscores, doperands);
        multiply(dkeys[p], doperands, queries, slice);
      }
    }
  }

  // Only their own warp reads rows of keys and values: they carry the results out.
#pragma unroll
  for (int p = 0; p < kBasis; ++p) {
    __syncwarp();
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      keys.put(warp_row + 16 * r, dkeys[p][r], sizes.scale, sizes.scale);
      values.put(warp_row + 16 * r, dvalues[p][r], 1.0F, 1.0F);
    }
    __syncwarp();
    if (p0 + p < basis) {
      const std::int64_t of_p = (p0 + p) * sizes.batch + entry;
      keys.template store<Block::kWarpRows>(warp_row,
                                            data.dqkv + sizes.key(of_p, kv_head, first_key),
                                            sizes.packed_width(), seq_len - first_key);
      values.template store<Block::kWarpRows>(warp_row,
                                              data.dqkv + sizes.value(of_p, kv_head, first_key),
                                              sizes.packed_width(), seq_len - first_key);
    }
  }
}

template <typename Block, int kHeadDim>
constexpr int kQueryBytes = 2 * kHeadDim*((1 + Block::kBasis) * Block::kRows + 4 * Block::kStep);

// A block owns 64 or 128 queries of one head and passes over the keys they see, as
// attend_query_block does. Queries past the end have q = do = lse = delta = 0 and so dS = 0.
// Launch: 128 threads; x: one block for each block of queries of each head, late queries, which
// see most keys, first; y: chunks of cotangents; kQueryBytes shared.
template <typename Block, int kHeadDim>
__global__ void __launch_bounds__(kAttentionThreads, 2)
    pull_back_to_queries(BackwardPointers data, AttentionSizes sizes, int basis) {
  extern __shared__ __align__(256) std::uint8_t shared[];
  using Tile = MmaTile<kHeadDim>;
  constexpr int kRowTiles = Block::kRowTiles;
  constexpr int kBasis = Block::kBasis;
  constexpr int kStep = Block::kStep;
  constexpr int kSlice = Block::kSlice;
  constexpr int kOwnBytes = Block::kRows * Tile::kRowBytes;
  constexpr int kTileBytes = kStep * Tile::kRowBytes;
  const Tile queries(shared);
  std::uint8_t* douts = shared + kOwnBytes;
  std::uint8_t* stages = douts + kBasis * kOwnBytes;

  const int seq_len = sizes.seq_len;
  const int num_blocks = blocks_of(seq_len, Block::kRows);
  const int q0 = (num_blocks - 1 - static_cast<int>(blockIdx.x) % num_blocks) * Block::kRows;
  const int head_index = static_cast<int>(blockIdx.x) / num_blocks;  // of B H
  const int head = head_index % sizes.heads;
  const int entry = head_index / sizes.heads;
  const int kv_head = head / sizes.group();
  const int p0 = static_cast<int>(blockIdx.y) * kBasis;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp_row = static_cast<int>(threadIdx.x) / kWarpSize * Block::kWarpRows;
  const int first_query = q0 + warp_row;
  const float scale_log2 = sizes.scale * kLog2E;

  const auto copy_keys = [&](int step) {
    const int k0 = step * kStep;
    std::uint8_t* stage = stages + step % 2 * 2 * kTileBytes;
    Tile(stage).template copy_async<kStep, kAttentionThreads>(
        data.qkv + sizes.key(entry, kv_head, k0), sizes.packed_width(), seq_len - k0);
    Tile(stage + kTileBytes)
        .template copy_async<kStep, kAttentionThreads>(data.qkv + sizes.value(entry, kv_head, k0),
                                                       sizes.packed_width(), seq_len - k0);
  };
  queries.template copy_async<Block::kRows, kAttentionThreads>(
      data.qkv + sizes.query(entry, head, q0), sizes.packed_width(), seq_len - q0);
#pragma unroll
  for (int p = 0; p < kBasis; ++p) {
    Tile(douts + p * kOwnBytes)
        .template copy_async<Block::kRows, kAttentionThreads>(
            data.dout + sizes.output((p0 + p) * sizes.batch + entry, head, q0), sizes.width(),
            p0 + p < basis ? seq_len - q0 : 0);
  }
  copy_keys(0);

  float offsets[kRowTiles][2];  // lse in powers of two
  float deltas[kBasis][kRowTiles][2];
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int query = first_query + 16 * r + accumulator_row(lane, 2 * half);
      const bool is_there = query < seq_len;
      offsets[r][half] = is_there ? data.lse[sizes.statistic(entry, head, query)] * kLog2E : 0.0F;
#pragma unroll
      for (int p = 0; p < kBasis; ++p) {
        const std::int64_t of_p = (p0 + p) * sizes.batch + entry;
        deltas[p][r][half] =
            is_there && p0 + p < basis ? data.delta[sizes.statistic(of_p, head, query)] : 0.0F;
      }
    }
  }
  float dqueries[kBasis][kRowTiles][kHeadDim / 8][4];
#pragma unroll
  for (int p = 0; p < kBasis; ++p) {
    set_zero(dqueries[p]);
  }

  const int num_steps = blocks_of(min(q0 + Block::kRows, seq_len), kStep);
  for (int step = 0; step < num_steps; ++step) {
    wait_for_copies();
    __syncthreads();
    if (step + 1 < num_steps) {
      copy_keys(step + 1);
    }
    const Tile keys(stages + step % 2 * 2 * kTileBytes);
    const Tile values(stages + step % 2 * 2 * kTileBytes + kTileBytes);
#pragma unroll 1
    for (int slice = 0; slice < kStep; slice += kSlice) {
      const int first_key = step * kStep + slice;
      if (first_key >= first_query + Block::kWarpRows) {
        continue;  // all later than the queries of this warp
      }
      float weights[kRowTiles][kSlice / 8][4];  // P
      set_zero(weights);
      multiply_transposed(weights, queries, warp_row, keys, slice);
      const bool is_diagonal = first_key + kSlice - 1 > first_query;
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
        for (int n = 0; n < kSlice / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const bool is_seen =
                !is_diagonal || first_key + 8 * n + accumulator_column(lane, i) <=
                                    first_query + 16 * r + accumulator_row(lane, i);
            weights[r][n][i] =
                is_seen ? fast_exp2(fmaf(weights[r][n][i], scale_log2, -offsets[r][i / 2])) : 0.0F;
          }
        }
      }
#pragma unroll
      for (int p = 0; p < kBasis; ++p) {
        if (p > 0 && p0 + p >= basis) {
          break;
        }
        float dscores[kRowTiles][kSlice / 8][4];  // starts at -delta, so that the product adds dP
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
          for (int n = 0; n < kSlice / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              dscores[r][n][i] = -deltas[p][r][i / 2];
            }
          }
        }
        multiply_transposed(dscores, Tile(douts + p * kOwnBytes), warp_row, values, slice);
        multiply_elements(dscores, weights);
        std::uint32_t operands[kRowTiles][kSlice / 16][4];
        to_operands(dscores, operands);
        multiply(dqueries[p], operands, keys, slice);
      }
    }
  }

  // A warp's queries are read by no other: their place carries the results out.
#pragma unroll
  for (int p = 0; p < kBasis; ++p) {
    __syncwarp();
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      queries.put(warp_row + 16 * r, dqueries[p][r], sizes.scale, sizes.scale);
    }
    __syncwarp();
    if (p0 + p < basis) {
      queries.template store<Block::kWarpRows>(
          warp_row, data.dqkv + sizes.query((p0 + p) * sizes.batch + entry, head, first_query),
          sizes.packed_width(), seq_len - first_query);
    }
  }
}

template <typename KeyBlock, typename QueryBlock, int kHeadDim>
void launch(const AttentionBackward& args) {
  const AttentionSizes sizes = attention_sizes(args.qkv, args.shape);
  const int basis = static_cast<int>(args.dout.dim(0));
  const BackwardPointers data = {.qkv = elements<__nv_bfloat16>(args.qkv),
                                 .dout = elements<__nv_bfloat16>(args.dout),
                                 .lse = elements<float>(args.lse),
                                 .delta = elements<float>(args.delta),
                                 .dqkv = elements<__nv_bfloat16>(args.dqkv)};
  const auto grid = [&](int rows, int heads, int chunk) {
    return dim3(static_cast<unsigned>(blocks_of(sizes.seq_len, rows) * sizes.batch * heads),
                static_cast<unsigned>(blocks_of(basis, chunk)));
  };
  constexpr int kKeyBytes = kKeyValueBytes<KeyBlock, kHeadDim>;
  check(cudaFuncSetAttribute(pull_back_to_keys<KeyBlock, kHeadDim>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, kKeyBytes),
        "cudaFuncSetAttribute");
  pull_back_to_keys<KeyBlock, kHeadDim>
      <<<grid(KeyBlock::kRows, sizes.kv_heads, KeyBlock::kBasis), kAttentionThreads, kKeyBytes,
         stream_of(args.qkv)>>>(data, sizes, basis);
  check_launch("pull_back_to_keys");

  constexpr int kBytes = kQueryBytes<QueryBlock, kHeadDim>;
  check(cudaFuncSetAttribute(pull_back_to_queries<QueryBlock, kHeadDim>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "cudaFuncSetAttribute");
  pull_back_to_queries<QueryBlock, kHeadDim>
      <<<grid(QueryBlock::kRows, sizes.heads, QueryBlock::kBasis), kAttentionThreads, kBytes,
         stream_of(args.qkv)>>>(data, sizes, basis);
  check_launch("pull_back_to_queries");
}

}  // namespace

// Shapes: <tiles of a warp, cotangents, rows of a step, of a slice>. The sums of a warp take
// tiles * cotangents * D / 2 registers for dq and twice that for dk and dv, P and dS each
// tiles * slice / 2. Several cotangents have one tile a warp, so that more of them share a P; for
// heads of 128 dk and dv of one are all that fits.
void attention_by_tiles(const AttentionBackward& args) {
  attention_row_dots(args);
  const bool is_one = args.dout.dim(0) == 1;
  switch (args.shape.head_dim) {
    case 32:
      return is_one ? launch<BlockShape<2, 1, 64, 32>, BlockShape<2, 1, 64, 32>, 32>(args)
                    : launch<BlockShape<1, 4, 64, 32>, BlockShape<1, 4, 64, 32>, 32>(args);
    case 64:
      return is_one ? launch<BlockShape<2, 1, 64, 32>, BlockShape<2, 1, 64, 32>, 64>(args)
                    : launch<BlockShape<1, 2, 64, 32>, BlockShape<1, 4, 64, 32>, 64>(args);
    default:
      return is_one ? launch<BlockShape<1, 1, 64, 32>, BlockShape<2, 1, 32, 32>, 128>(args)
                    : launch<BlockShape<1, 1, 64, 32>, BlockShape<1, 2, 32, 32>, 128>(args);
  }
}

}  // namespace ghost::cuda
