#include "ops/cuda/common/mma_layout.h"

#include <array>
#include <set>
#include <vector>

#include "tests/support/catch.h"

namespace ghost {
namespace {

using cuda::chunk_offset;
using cuda::ChunkAt;

constexpr int kLanes = 32;
constexpr int kChunkValues = 8;

// Small integers stand for bf16: products and sums of them are exact.
using Registers = std::array<std::array<int, 8>, kLanes>;  // two values each of four registers

/// Shared memory of one tile, value by value.
template <int kColumns>
struct Tile {
  static constexpr int kChunks = kColumns / kChunkValues;
  std::vector<int> memory;

  explicit Tile(int rows) : memory(static_cast<std::size_t>(rows * kColumns)) {
    for (int row = 0; row < rows; ++row) {
      for (int column = 0; column < kColumns; ++column) {
        memory[index(row, column)] = (row * 37 + column * 11 + row * column) % 23 - 11;
      }
    }
  }
  static std::size_t index(int row, int column) {
    const int bytes = chunk_offset<kChunks>(row, column / kChunkValues) + column % kChunkValues * 2;
    return static_cast<std::size_t>(bytes / 2);
  }
  int at(int row, int column) const { return memory[index(row, column)]; }
};

// ldmatrix.x4 of the PTX ISA: lanes 8 i .. 8 i + 7 point at the rows of matrix i; register i of
// lane l gets row l / 4, columns l % 4 * 2 and the next, or the same of the transpose.
template <int kColumns>
Registers load_matrices(const Tile<kColumns>& tile, ChunkAt (*place)(int), int row, int step,
                        bool is_transposed) {
  Registers out{};
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      for (int value = 0; value < 2; ++value) {
        const int i = is_transposed ? lane % 4 * 2 + value : lane / 4;
        const int j = is_transposed ? lane / 4 : lane % 4 * 2 + value;
        const ChunkAt at = place(8 * matrix + i);
        const int chunk = at.chunk ^ (2 * step);
        out[static_cast<std::size_t>(lane)][static_cast<std::size_t>(2 * matrix + value)] =
            tile.at(row + at.row, chunk * kChunkValues + j);
      }
    }
  }
  return out;
}

// One element of mma.m16n8k16 with bf16 operands, from the registers that hold its operands after
// the PTX ISA's table of fragments; `half` says which two registers of `b` are the operand.
int product(const Registers& a, const Registers& b, int half, int m, int n) {
  int sum = 0;
  for (int k = 0; k < 16; ++k) {
    const int a_lane = m % 8 * 4 + k % 8 / 2;
    const int a_value = k % 2 + m / 8 * 2 + k / 8 * 4;
    const int b_lane = n * 4 + k % 8 / 2;
    const int b_value = k % 2 + k / 8 * 2 + half * 4;
    sum += a[static_cast<std::size_t>(a_lane)][static_cast<std::size_t>(a_value)] *
           b[static_cast<std::size_t>(b_lane)][static_cast<std::size_t>(b_value)];
  }
  return sum;
}

// What a lane's accumulator `i` is of A B, against the definition.
template <typename Expected>
void check_products(const Registers& a, const Registers& b, const Expected& expected) {
  for (int half = 0; half < 2; ++half) {
    std::set<std::pair<int, int>> seen;
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int i = 0; i < 4; ++i) {
        const int m = cuda::accumulator_row(lane, i);
        const int n = cuda::accumulator_column(lane, i);
        REQUIRE(product(a, b, half, m, n) == expected(m, 8 * half + n));
        seen.insert({m, n});
      }
    }
    CHECK(seen.size() == 16 * 8);
  }
}

template <int kColumns>
void check_tile() {
  INFO("rows of " << kColumns);
  constexpr int kRows = 48;
  const Tile<kColumns> left(kRows);
  const Tile<kColumns> right(kRows);
  for (int step = 0; step < kColumns / 16; ++step) {
    const Registers a = load_matrices(left, cuda::chunk_of_a, 16, step, false);
    check_products(a, load_matrices(right, cuda::chunk_of_b_by_columns, 32, step, false),
                   [&](int m, int n) {
                     int sum = 0;
                     for (int k = 16 * step; k < 16 * (step + 1); ++k) {
                       sum += left.at(16 + m, k) * right.at(32 + n, k);
                     }
                     return sum;
                   });
    check_products(a, load_matrices(right, cuda::chunk_of_b_by_rows, 32, step, true),
                   [&](int m, int n) {
                     int sum = 0;
                     for (int k = 0; k < 16; ++k) {
                       sum += left.at(16 + m, 16 * step + k) * right.at(32 + k, 16 * step + n);
                     }
                     return sum;
                   });
  }
}

TEST_CASE("tensor-core operands multiply as the matrices they come from", "[ops]") {
  check_tile<32>();
  check_tile<64>();
  check_tile<128>();
}

template <int kChunks>
void check_offsets() {
  INFO(kChunks << " chunks a row");
  constexpr int kRows = 24;
  std::set<int> places;
  for (int row = 0; row < kRows; ++row) {
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      places.insert(chunk_offset<kChunks>(row, chunk));
    }
  }
  CHECK(places.size() == kRows * kChunks);
  CHECK(*places.rbegin() == (kRows * kChunks - 1) * 16);
  for (int row = 0; row < kRows; row += 8) {
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      std::set<int> banks;  // in groups of four
      for (int i = 0; i < 8; ++i) {
        banks.insert(chunk_offset<kChunks>(row + i, chunk) / 16 % 8);
      }
      CHECK(banks.size() == 8);
    }
  }
}

TEST_CASE("a tile has a place for each chunk and no bank conflicts", "[ops]") {
  check_offsets<4>();
  check_offsets<8>();
  check_offsets<16>();
}

}  // namespace
}  // namespace ghost
