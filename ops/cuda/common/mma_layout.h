#pragma once

namespace ghost::cuda {

// Index arithmetic of tensor-core tiles, free of CUDA so that a test on any machine can multiply
// through it. A tile is a matrix of bf16 in shared memory, handled in chunks of 8 values (16
// bytes). Layouts after the PTX ISA: "Matrix fragments for mma.m16n8k16 with floating point type"
// and ldmatrix, whose lanes 8 i .. 8 i + 7 give the addresses of the rows of its matrix i.

/// A chunk of a tile.
struct ChunkAt {
  int row;
  int chunk;
};

/// Where a lane points for ldmatrix.x4 to load the A operand [16 m, 16 k] from rows m.
constexpr ChunkAt chunk_of_a(int lane) { return {.row = lane % 16, .chunk = lane / 16}; }

/// The same for two B operands [16 k, 8 n each] from rows n: registers 0 and 1 are b of columns
/// 0 to 7, registers 2 and 3 of columns 8 to 15.
constexpr ChunkAt chunk_of_b_by_columns(int lane) {
  return {.row = lane / 16 * 8 + lane % 8, .chunk = lane / 8 % 2};
}

/// The same from rows k, for ldmatrix.trans.
constexpr ChunkAt chunk_of_b_by_rows(int lane) { return {.row = lane % 16, .chunk = lane / 16}; }

/// Row and column in [16 m, 8 n] of a lane's accumulator i of 4.
constexpr int accumulator_row(int lane, int i) { return lane / 4 + i / 2 * 8; }
constexpr int accumulator_column(int lane, int i) { return lane % 4 * 2 + i % 2; }

/// Byte of a chunk in a tile of `kChunks` (4, 8 or 16) chunks a row. Chunks of a row trade places,
/// so that the same chunk of any 8 aligned rows lies in all 32 banks: ldmatrix meets no conflict.
/// The exchange depends on row % 8 only.
template <int kChunks>
constexpr int chunk_offset(int row, int chunk) {
  static_assert(kChunks == 4 || kChunks == 8 || kChunks == 16);
  const int exchange = kChunks == 4 ? row / 2 % 4 : row % 8;
  return (row * kChunks + (chunk ^ exchange)) * 16;
}

}  // namespace ghost::cuda
