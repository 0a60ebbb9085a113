#pragma once

#include <cstdint>

#include "engine/random/philox.h"

namespace ghost {

/// A pseudo-random permutation of 0 .. size - 1 that is computed and never stored, so that any
/// place of any epoch is found in constant time: a Feistel network of Philox rounds over the
/// smallest even number of bits that holds `size`, walked until the value falls inside. `seed`,
/// `epoch` and `stream` each give another permutation. source  Black and Rogaway 2002, "Ciphers
/// with arbitrary finite domains" (cycle walking)
class IndexPermutation {
 public:
  IndexPermutation(std::uint64_t seed, std::uint32_t epoch, std::uint32_t stream,
                   std::int64_t size);

  /// Requires 0 <= index < size.
  std::int64_t operator()(std::int64_t index) const;

 private:
  std::uint64_t encrypt(std::uint64_t value) const;

  Philox philox_;
  std::uint32_t epoch_;
  std::uint32_t stream_;
  std::uint64_t size_;
  int half_bits_;
};

}  // namespace ghost
