#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace ghost {

/// Which blocks of a flat gradient buffer hold nothing but +0, as far as is known. The gradient of
/// an embedding is zero but for the rows of a batch's tokens: who wrote it says so here, and passes
/// over gradients leave those blocks out. Blocks of which nothing is known count as others do.
class ZeroBlocks {
 public:
  static constexpr std::int64_t kElements = 4096;

  explicit ZeroBlocks(std::int64_t elements)
      : is_zero_(static_cast<std::size_t>((elements + kElements - 1) / kElements)) {}

  bool is_zero(std::int64_t block) const { return is_zero_[static_cast<std::size_t>(block)] != 0; }
  void set_zero(std::int64_t block) { is_zero_[static_cast<std::size_t>(block)] = 1; }

  /// Elements [begin, end) may be anything from now on.
  void forget(std::int64_t begin, std::int64_t end) {
    if (begin < end) {
      std::fill(is_zero_.begin() + begin / kElements, is_zero_.begin() + (end - 1) / kElements + 1,
                std::uint8_t{0});
    }
  }

 private:
  std::vector<std::uint8_t> is_zero_;
};

}  // namespace ghost
