#pragma once

#include "engine/device/cuda/reduce.cuh"
#include "ops/cuda/common/mma_layout.h"
#include "ops/cuda/common/ptx.cuh"

namespace ghost::cuda {

/// A matrix of bf16 in shared memory with rows of `kColumns` (32, 64 or 128) values, laid out by
/// chunk_offset. Its memory must be aligned to 256 bytes.
template <int kColumns>
class MmaTile {
 public:
  static constexpr int kChunks = kColumns / 8;
  static constexpr int kRowBytes = 2 * kColumns;

  __device__ __forceinline__ explicit MmaTile(std::uint8_t* memory) : memory_(memory) {}

  /// Starts the copy of kRows rows that lie `stride` elements apart; zeros from row `num_rows` on.
  /// All kThreads threads of the block take part; wait_for_copies and a barrier end it.
  template <int kRows, int kThreads>
  __device__ __forceinline__ void copy_async(const __nv_bfloat16* from, int stride,
                                             int num_rows) const {
    constexpr int kPass = kThreads / kChunks;  // rows at a time; the exchange of chunks repeats
    static_assert(kRows % kPass == 0 && kPass % 8 == 0);
    const int row = static_cast<int>(threadIdx.x) / kChunks;
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
    const std::uint32_t to = shared_address(memory_) + chunk_offset<kChunks>(row, chunk);
    from += row * stride + chunk * 8;
#pragma unroll
    for (int r = 0; r < kRows; r += kPass) {
      copy_async_16(to + r * kRowBytes, from + r * stride, row + r < num_rows);
    }
  }

  // Where a lane points for an operand, as mma_layout.h names them, in the first 16 columns of the
  // rows from `row` (a multiple of 16); at_step gives the others.
  __device__ __forceinline__ std::uint32_t place_of_a(int row) const {
    return place(chunk_of_a(lane()), row);
  }
  __device__ __forceinline__ std::uint32_t place_of_b_by_columns(int row) const {
    return place(chunk_of_b_by_columns(lane()), row);
  }
  __device__ __forceinline__ std::uint32_t place_of_b_by_rows(int row) const {
    return place(chunk_of_b_by_rows(lane()), row);
  }

  /// The place 16 * `step` columns and `rows` rows (a multiple of 16) further on. The exchange of
  /// chunks depends on row % 8 alone and rows are aligned to their size, so that one XOR does.
  __device__ __forceinline__ static std::uint32_t at_step(std::uint32_t place, int step, int rows) {
    return (place ^ (32 * step)) + rows * kRowBytes;
  }

  /// Writes a warp's accumulators to the 16 rows from `row`, the upper 8 of them times `upper`, the
  /// lower 8 times `lower` (each lane those of its own two rows), rounded to bf16.
  __device__ __forceinline__ void put(int row, const float (&sums)[kColumns / 8][4], float upper,
                                      float lower) const {
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float factor = half == 0 ? upper : lower;
        const int at = chunk_offset<kChunks>(row + accumulator_row(lane(), 2 * half), chunk) +
                       2 * accumulator_column(lane(), 0);
        *reinterpret_cast<std::uint32_t*>(memory_ + at) =
            pack_bf16(sums[chunk][2 * half] * factor, sums[chunk][2 * half + 1] * factor);
      }
    }
  }

  /// A warp writes its kRows rows from `row` to `to`, `stride` elements apart, `num_rows` at most.
  template <int kRows>
  __device__ __forceinline__ void store(int row, __nv_bfloat16* to, int stride,
                                        int num_rows) const {
#pragma unroll
    for (int i = 0; i < kRows * kChunks / kWarpSize; ++i) {
      const int index = i * kWarpSize + lane();
      const int r = index / kChunks;
      const int chunk = index % kChunks;
      if (r < num_rows) {
        *reinterpret_cast<uint4*>(to + r * stride + chunk * 8) =
            *reinterpret_cast<const uint4*>(memory_ + chunk_offset<kChunks>(row + r, chunk));
      }
    }
  }

 private:
  __device__ __forceinline__ static int lane() { return static_cast<int>(threadIdx.x) % kWarpSize; }

  // The compiler must not see through it: it would compute the places of all steps ahead of a loop
  // and spill them.
  __device__ __forceinline__ std::uint32_t place(const ChunkAt& at, int row) const {
    return opaque(shared_address(memory_) + row * kRowBytes +
                  chunk_offset<kChunks>(at.row, at.chunk));
  }

  std::uint8_t* memory_;
};

/// sums += A B^T: kTiles x 16 rows of `a` from `a_row`, 8 kColumnTiles rows of `b` from `b_row`.
/// By one warp.
template <int kTiles, int kColumnTiles, int kDepth>
__device__ __forceinline__ void multiply_transposed(float (&sums)[kTiles][kColumnTiles][4],
                                                    const MmaTile<kDepth>& a, int a_row,
                                                    const MmaTile<kDepth>& b, int b_row) {
  using Tile = MmaTile<kDepth>;
  const std::uint32_t a_place = a.place_of_a(a_row);
  const std::uint32_t b_place = b.place_of_b_by_columns(b_row);
#pragma unroll
  for (int step = 0; step < kDepth / 16; ++step) {
    std::uint32_t left[kTiles][4];
#pragma unroll
    for (int r = 0; r < kTiles; ++r) {
      load_matrices(left[r], Tile::at_step(a_place, step, 16 * r));
    }
#pragma unroll
    for (int n = 0; n < kColumnTiles / 2; ++n) {
      std::uint32_t right[4];
      load_matrices(right, Tile::at_step(b_place, step, 16 * n));
#pragma unroll
      for (int r = 0; r < kTiles; ++r) {
        multiply_accumulate(sums[r][2 * n], left[r], right[0], right[1]);
        multiply_accumulate(sums[r][2 * n + 1], left[r], right[2], right[3]);
      }
    }
  }
}

/// sums += W B: W of kTiles x 16 rows in registers, 16 kSteps rows of `b` from `b_row`. By one
/// warp.
template <int kTiles, int kSteps, int kColumns>
__device__ __forceinline__ void multiply(float (&sums)[kTiles][kColumns / 8][4],
                                         const std::uint32_t (&weights)[kTiles][kSteps][4],
                                         const MmaTile<kColumns>& b, int b_row) {
  const std::uint32_t b_place = b.place_of_b_by_rows(b_row);
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int n = 0; n < kColumns / 16; ++n) {
      std::uint32_t right[4];
      load_matrices_transposed(right, MmaTile<kColumns>::at_step(b_place, n, 16 * step));
#pragma unroll
      for (int r = 0; r < kTiles; ++r) {
        multiply_accumulate(sums[r][2 * n], weights[r][step], right[0], right[1]);
        multiply_accumulate(sums[r][2 * n + 1], weights[r][step], right[2], right[3]);
      }
    }
  }
}

/// Accumulators as the A operand of a further product: a lane has the same places in both, two
/// tiles of 8 columns making one of 16.
template <int kTiles, int kColumnTiles>
__device__ __forceinline__ void to_operands(
    const float (&values)[kTiles][kColumnTiles][4],
    std::uint32_t (&operands)[kTiles][kColumnTiles / 2][4]) {
#pragma unroll
  for (int r = 0; r < kTiles; ++r) {
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
      operands[r][n / 2][n % 2 * 2] = pack_bf16(values[r][n][0], values[r][n][1]);
      operands[r][n / 2][n % 2 * 2 + 1] = pack_bf16(values[r][n][2], values[r][n][3]);
    }
  }
}

}  // namespace ghost::cuda
