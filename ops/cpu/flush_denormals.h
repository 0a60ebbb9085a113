#pragma once

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace ghost::cpu {

/// For its lifetime this thread takes and leaves zero in place of denormal numbers. Averages that
/// decay without new gradients (rows of tokens that are not seen) end there, at the smallest
/// number, for ever, and each vector that holds one costs over a hundred cycles. Elsewhere than on
/// x86 it does nothing.
class FlushDenormals {
 public:
#if defined(__SSE__)
  FlushDenormals() { _mm_setcsr(before_ | kFlushResults | kZeroOperands); }
  ~FlushDenormals() { _mm_setcsr(before_); }
#else
  FlushDenormals() = default;
#endif
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

#if defined(__SSE__)
 private:
  static constexpr unsigned kFlushResults = 0x8000;
  static constexpr unsigned kZeroOperands = 0x0040;
  unsigned before_ = _mm_getcsr();
#endif
};

}  // namespace ghost::cpu
