#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ghost {

/// The merge rules of a byte-pair encoding, each with its rank (earlier rules win).
class BpeMerges {
 public:
  explicit BpeMerges(std::int64_t expected_merges);

  /// Adds the next rule: `left right` become `merged`. A repeated pair keeps its first rank.
  void add(std::int32_t left, std::int32_t right, std::int32_t merged);

  /// Merges `symbols` until no rule applies, lowest rank first and leftmost first, and appends what
  /// remains to `out`. O(n log n) in the number of symbols.
  void apply(std::span<const std::int32_t> symbols, std::vector<std::int32_t>& out) const;

  std::int64_t size() const { return size_; }

 private:
  struct Rule {
    std::uint64_t pair = kEmpty;
    std::int32_t rank = 0;
    std::int32_t merged = 0;
  };
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};

  /// The slot that holds `pair`, or the empty one where it would go.
  std::size_t slot(std::uint64_t pair) const;
  void grow();

  std::vector<Rule> table_;  // open addressing, a power of two, at most half full
  std::int64_t size_ = 0;
};

}  // namespace ghost
