#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "ops/row_bins.h"

namespace ghost::cpu {

/// 64 bytes: one register where the CPU has AVX-512, several elsewhere.
template <typename T>
struct VectorOf;
template <>
struct VectorOf<float> {
  using Type = float __attribute__((vector_size(64)));
  using Doubles = double __attribute__((vector_size(128)));  // as many lanes
};
template <>
struct VectorOf<double> {
  using Type = double __attribute__((vector_size(64)));
  using Doubles = Type;
};

/// A tile of consecutive columns, held in registers.
template <typename T>
class Columns {
 public:
  static constexpr std::int64_t kLanes = 64 / sizeof(T);
  static constexpr std::size_t kVectors = 4;
  static constexpr std::int64_t kWidth = kLanes * static_cast<std::int64_t>(kVectors);

  static Columns load(const T* from) {
    Columns out;
    std::memcpy(out.v_.data(), from, sizeof(out.v_));
    return out;
  }
  static Columns load(const BFloat16* from) {
    using Words = std::uint32_t __attribute__((vector_size(64)));
    using Halves = std::uint16_t __attribute__((vector_size(32)));
    Columns out;
    for (auto& vector : out.v_) {
      Halves halves;
      std::memcpy(&halves, from, sizeof(halves));
      const Words words = __builtin_convertvector(halves, Words) << 16;
      std::memcpy(&vector, &words, sizeof(words));
      from += kLanes;
    }
    return out;
  }
  /// The last columns of a row, fewer than a tile; the rest counts as 0.
  static Columns load_part(const T* from, std::int64_t count) {
    Columns out;
    for (std::size_t i = 0; i < kVectors && count > 0; ++i, from += kLanes, count -= kLanes) {
      if (count >= kLanes) {
        std::memcpy(&out.v_[i], from, sizeof(out.v_[i]));
      } else {
        std::memcpy(&out.v_[i], from, static_cast<std::size_t>(count) * sizeof(T));
      }
    }
    return out;
  }
  static Columns load_part(const BFloat16* from, std::int64_t count) {
    std::array<BFloat16, static_cast<std::size_t>(kWidth)> whole{};
    std::copy_n(from, count, whole.begin());
    return load(whole.data());
  }
  void store(T* to) const { std::memcpy(to, v_.data(), sizeof(v_)); }
  void add_scaled(const Columns& x, T w) {
    for (std::size_t i = 0; i < kVectors; ++i) {
      v_[i] += w * x.v_[i];
    }
  }
  void add(const Columns& x) {
    for (std::size_t i = 0; i < kVectors; ++i) {
      v_[i] += x.v_[i];
    }
  }
  void add_squares(const Columns& x) {
    for (std::size_t i = 0; i < kVectors; ++i) {
      v_[i] += x.v_[i] * x.v_[i];
    }
  }
  /// Numbers side by side in f64; adding them up one by one would take longer than a bin's rows do.
  using Lanes = typename VectorOf<T>::Doubles;
  void add_to(Lanes& lanes) const {
    for (const auto& vector : v_) {
      lanes += __builtin_convertvector(vector, Lanes);
    }
  }

 private:
  std::array<typename VectorOf<T>::Type, kVectors> v_ = {};
};

template <typename T>
void store_part(const Columns<T>& tile, T* to, std::int64_t count) {
  std::array<T, static_cast<std::size_t>(Columns<T>::kWidth)> whole;
  tile.store(whole.data());
  std::copy_n(whole.begin(), count, to);
}

/// out = (accumulate ? out : 0) + S x for a matrix x whose rows lie x_stride apart.
template <typename T>
struct GatherPass {
  using Tile = Columns<RealOf<T>>;

  const T* x;
  std::int64_t x_stride;
  const RowBins& bins;
  RealOf<T>* out;
  std::int64_t out_stride;
  bool accumulate = false;
  bool wants_norm = false;
  bool wants_sums = false;
};

/// What a pass adds up besides its output, over the rows that are covered.
template <typename Tile>
struct GatherSums {
  Tile columns;                             // of x
  typename Tile::Lanes* squares = nullptr;  // of all elements; null: not wanted
};

/// One bin, columns [begin, begin + count) with count at most a tile.
template <typename T, bool kCovers, typename Load, typename Store>
void gather_tile(const GatherPass<T>& pass, std::int64_t bin, std::int64_t begin,
                 GatherSums<typename GatherPass<T>::Tile>& sums, const Load& load,
                 const Store& store) {
  using Tile = typename GatherPass<T>::Tile;
  const auto r = static_cast<std::size_t>(bin);
  const bool is_output = bin < pass.bins.num_outputs;
  Tile sum = is_output && pass.accumulate ? load(pass.out + bin * pass.out_stride + begin) : Tile{};
  Tile squares;
  for (std::int32_t i = pass.bins.offsets[r]; i < pass.bins.offsets[r + 1]; ++i) {
    const auto entry = static_cast<std::size_t>(i);
    const Tile x = load(pass.x + pass.bins.rows[entry] * pass.x_stride + begin);
    sum.add_scaled(x, static_cast<RealOf<T>>(pass.bins.weights[entry]));
    if constexpr (kCovers) {
      sums.columns.add(x);
      squares.add_squares(x);
    }
  }
  if (is_output) {
    store(sum, pass.out + bin * pass.out_stride + begin);
  }
  if (kCovers && sums.squares != nullptr) {
    squares.add_to(*sums.squares);
  }
}

template <typename T, typename Load, typename Store>
void gather_columns(const GatherPass<T>& pass, std::int64_t first_bin, std::int64_t last_bin,
                    std::int64_t begin, RealOf<T>* block_sums,
                    typename GatherPass<T>::Tile::Lanes* squares, const Load& load,
                    const Store& store) {
  GatherSums<typename GatherPass<T>::Tile> sums{.squares = squares};
  for (std::int64_t bin = first_bin; bin < last_bin; ++bin) {
    const bool covers = (pass.wants_norm || pass.wants_sums) && bin >= pass.bins.cover_first &&
                        bin < pass.bins.cover_last;
    covers ? gather_tile<T, true>(pass, bin, begin, sums, load, store)
           : gather_tile<T, false>(pass, bin, begin, sums, load, store);
  }
  if (block_sums != nullptr) {
    store(sums.columns, block_sums + begin);
  }
}

/// Bins [first, last), columns [begin, end); sums of the covered rows go to block_sums if given.
/// Returns the sum of their squares where it is wanted.
template <typename T>
double gather_block(const GatherPass<T>& pass, std::int64_t first, std::int64_t last,
                    std::int64_t begin, std::int64_t end, RealOf<T>* block_sums) {
  using Tile = typename GatherPass<T>::Tile;
  constexpr std::int64_t kTile = Tile::kWidth;
  typename Tile::Lanes squares = {};
  auto* wanted = pass.wants_norm ? &squares : nullptr;
  for (; begin + kTile <= end; begin += kTile) {
    gather_columns<T>(
        pass, first, last, begin, block_sums, wanted,
        [](const auto* from) { return Tile::load(from); },
        [](const Tile& tile, RealOf<T>* to) { tile.store(to); });
  }
  if (begin < end) {
    const std::int64_t count = end - begin;
    gather_columns<T>(
        pass, first, last, begin, block_sums, wanted,
        [count](const auto* from) { return Tile::load_part(from, count); },
        [count](const Tile& tile, RealOf<T>* to) { store_part(tile, to, count); });
  }
  double squared_norm = 0;
  for (std::int64_t lane = 0; lane < Tile::kLanes; ++lane) {
    squared_norm += squares[lane];
  }
  return squared_norm;
}

}  // namespace ghost::cpu
