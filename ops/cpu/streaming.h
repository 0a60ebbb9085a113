#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace ghost::cpu {

/// Asks for the cache lines of x [n] as they will be needed 4 KiB further on in a pass over memory.
/// The processor's own prefetcher stops at each 4 KiB. Into the second cache, whose queue of misses
/// is longer: a sum over one stream on two cores runs at 19 GB/s with this, 16 with prefetches into
/// the first, 14 with none. Addresses past the end do no harm.
template <typename T>
void prefetch_ahead(const T* x, std::int64_t n) {
  constexpr std::int64_t kLine = 64 / sizeof(T);
  constexpr std::int64_t kAhead = 4096 / sizeof(T);
  for (std::int64_t i = 0; i < n; i += kLine) {
    __builtin_prefetch(x + i + kAhead, /*rw=*/0, /*locality=*/2);
  }
}

/// Whether all of x [n] are +0. Reading memory costs half of writing it, so passes over gradients
/// that are mostly zero look first.
template <typename T>
bool is_zero(const T* x, std::int64_t n) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  static_assert(sizeof(Bits) == sizeof(T));
  Bits any = 0;
#pragma omp simd reduction(| : any)
  for (std::int64_t i = 0; i < n; ++i) {
    any |= std::bit_cast<Bits>(x[i]);
  }
  return any == 0;
}

}  // namespace ghost::cpu
