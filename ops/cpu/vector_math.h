#pragma once

// Transcendental functions that vectorise inside `#pragma omp simd` without -ffast-math.
//
// glibc declares the vector forms of its libm functions (libmvec, relative error under 3e-7) only
// under -ffast-math, which would also allow what we do not want. Declaring the scalar functions
// once more with the attribute reaches the same vector forms; NaN and infinities stay right.
// Elsewhere, and in f64, these are the functions of <cmath>.

#include <cmath>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#if __GLIBC_PREREQ(2, 35)
extern "C" {
__attribute__((simd("notinbranch"))) float expf(float x) noexcept;
__attribute__((simd("notinbranch"))) float tanhf(float x) noexcept;
__attribute__((simd("notinbranch"))) float erff(float x) noexcept;
}
#endif
#endif

namespace ghost::cpu {

inline float vector_exp(float x) { return ::expf(x); }
inline double vector_exp(double x) { return std::exp(x); }

inline float vector_tanh(float x) { return ::tanhf(x); }
inline double vector_tanh(double x) { return std::tanh(x); }

inline float vector_erf(float x) { return ::erff(x); }
inline double vector_erf(double x) { return std::erf(x); }

/// 1 / (1 + exp(-x)), 0 and 1 at the infinities.
template <typename T>
T vector_sigmoid(T x) {
  return 1 / (1 + vector_exp(-x));
}

}  // namespace ghost::cpu
