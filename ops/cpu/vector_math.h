#pragma once

// Transcendental functions that vectorise inside `#pragma omp simd` without -ffast-math.
//
// glibc declares the vector forms of its libm functions (libmvec, relative error under 3e-7) only
// under -ffast-math, which would also allow what we do not want. Declaring the scalar functions
// once more with the attribute reaches the same vector forms; NaN and infinities stay right.
// Elsewhere, and in f64, these are the functions of <cmath>.

#include <bit>
#include <cmath>
#include <cstdint>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#if __GLIBC_PREREQ(2, 35)
extern "C" {
__attribute__((simd("notinbranch"))) float erff(float x) noexcept;
}
#endif
#endif

namespace ghost::cpu {

/// e^x = 2^n e^r with n = round(x / log 2) and r = x - n log 2, |r| <= 0.35.
struct PowerAndRest {
  std::int32_t exponent;  // n
  float rest;             // e^r - 1, by its series to r^7
};

/// |x| at most 104.
inline PowerAndRest split_exp(float x) {
  constexpr float kRounder = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  constexpr float kLog2High = 0.693359375F;
  constexpr float kLog2Low = -2.12194440e-4F;
  const float shifted = x * 1.44269504F + kRounder;
  const float n = shifted - kRounder;
  const float r = x - n * kLog2High - n * kLog2Low;
  float series = 1.0F / 5040;
  series = series * r + 1.0F / 720;
  series = series * r + 1.0F / 120;
  series = series * r + 1.0F / 24;
  series = series * r + 1.0F / 6;
  series = series * r + 0.5F;
  series = series * r + 1.0F;
  return {.exponent = std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRounder),
          .rest = series * r};
}

/// 2^n for -126 <= n <= 127.
inline float power_of_two(std::int32_t n) { return std::bit_cast<float>((n + 127) << 23); }

/// Within 2 units in the last place of e^x; 0 and infinity where f32 ends, NaN for NaN.
inline float vector_exp(float x) {
  const float bounded = x < -104.0F ? -104.0F : (x > 89.0F ? 89.0F : x);
  const PowerAndRest parts = split_exp(bounded);
  // 2^n in two factors, as n may lie outside of the exponents of one number.
  const std::int32_t half = parts.exponent >> 1;
  return (parts.rest + 1.0F) * power_of_two(half) * power_of_two(parts.exponent - half);
}
inline double vector_exp(double x) { return std::exp(x); }

/// Within 4 units in the last place, also near 0: tanh |x| = e / (e + 2) with e = e^(2|x|) - 1.
inline float vector_tanh(float x) {
  constexpr float kIsOne = 10.0F;  // tanh is 1 in f32 from 9.02 on
  const float size = std::bit_cast<float>(std::bit_cast<std::int32_t>(x) & 0x7fffffff);
  const PowerAndRest parts = split_exp(2.0F * (size > kIsOne ? kIsOne : size));
  const float power = power_of_two(parts.exponent);
  const float e = power * parts.rest + (power - 1.0F);
  const float tanh = e / (e + 2.0F);
  return std::bit_cast<float>(
      std::bit_cast<std::int32_t>(tanh) |
      (std::bit_cast<std::int32_t>(x) & static_cast<std::int32_t>(0x80000000)));
}
inline double vector_tanh(double x) { return std::tanh(x); }

inline float vector_erf(float x) { return ::erff(x); }
inline double vector_erf(double x) { return std::erf(x); }

/// 1 / (1 + exp(-x)), 0 and 1 at the infinities.
template <typename T>
T vector_sigmoid(T x) {
  return 1 / (1 + vector_exp(-x));
}

template <typename T>
struct SineCosine {
  T sine;
  T cosine;
};

/// Both within 1.2e-7 for |x| <= 100: series on the quarter turn around the nearest multiple of
/// pi / 2.
inline SineCosine<float> vector_sine_cosine(float x) {
  constexpr float kRounder = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  // pi / 2 in three parts; products of the first two with a small integer are exact.
  constexpr float kHigh = 1.5703125F;
  constexpr float kMiddle = 4.837512969970703125e-4F;
  constexpr float kLow = 7.54978995489188e-8F;
  const float shifted = x * 0.636619772F + kRounder;
  const float n = shifted - kRounder;
  const std::int32_t quadrant =
      std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(kRounder);
  const float r = x - n * kHigh - n * kMiddle - n * kLow;
  const float z = r * r;
  float sine = 1.0F / 362880;
  sine = sine * z - 1.0F / 5040;
  sine = sine * z + 1.0F / 120;
  sine = sine * z - 1.0F / 6;
  sine = sine * z * r + r;
  float cosine = -1.0F / 3628800;
  cosine = cosine * z + 1.0F / 40320;
  cosine = cosine * z - 1.0F / 720;
  cosine = cosine * z + 1.0F / 24;
  cosine = cosine * z - 0.5F;
  cosine = cosine * z + 1.0F;
  const bool is_swapped = (quadrant & 1) != 0;
  const float first = is_swapped ? cosine : sine;
  const float second = is_swapped ? sine : cosine;
  return {.sine = (quadrant & 2) != 0 ? -first : first,
          .cosine = ((quadrant + 1) & 2) != 0 ? -second : second};
}
inline SineCosine<double> vector_sine_cosine(double x) {
  return {.sine = std::sin(x), .cosine = std::cos(x)};
}

/// x s(x) with the sigmoid s.
template <typename T>
T vector_silu(T x) {
  return x * vector_sigmoid(x);
}

/// Its derivative, with s = vector_sigmoid(x) at hand.
template <typename T>
T silu_derivative(T x, T s) {
  return s * (1 + x * (1 - s));
}

/// Largest of n >= 1 numbers; NaN are passed over, unless all are. A reduction over std::max stays
/// scalar without -ffast-math, which is four times slower than the loads.
template <typename T>
T vector_maximum(const T* x, std::int64_t n) {
  constexpr std::int64_t kLanes = 256 / static_cast<std::int64_t>(sizeof(T));
  T largest = x[0];
  std::int64_t i = 0;
  if (n >= kLanes) {
    T lanes[kLanes];
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] = x[lane];
    }
    for (i = kLanes; i + kLanes <= n; i += kLanes) {
#pragma omp simd
      for (std::int64_t lane = 0; lane < kLanes; ++lane) {
        lanes[lane] = x[i + lane] > lanes[lane] ? x[i + lane] : lanes[lane];
      }
    }
    for (const T lane : lanes) {
      largest = lane > largest ? lane : largest;
    }
  }
  for (; i < n; ++i) {
    largest = x[i] > largest ? x[i] : largest;
  }
  return largest;
}

}  // namespace ghost::cpu
