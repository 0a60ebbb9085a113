#pragma once

#include <bit>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include "engine/core/error.h"

namespace ghost {

enum class DType { kF32, kF64, kBF16, kI32, kU16, kU8, kI8 };

/// Upper 16 bits of an f32: storage only, arithmetic runs in float.
struct BFloat16 {
  std::uint16_t bits = 0;

  BFloat16() = default;
  /// Rounds to nearest even; NaN stays NaN.
  constexpr explicit BFloat16(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const bool is_nan = (word & 0x7fffffffU) > 0x7f800000U;
    bits = is_nan ? static_cast<std::uint16_t>((word >> 16) | 0x40U)
                  : static_cast<std::uint16_t>((word + 0x7fffU + ((word >> 16) & 1U)) >> 16);
  }
  constexpr explicit operator float() const {
    return std::bit_cast<float>(std::uint32_t{bits} << 16);
  }
};

std::int64_t itemsize(DType dtype);
bool is_floating(DType dtype);

/// Of means, norms, losses and gradients of weights: f64 for f64, else f32.
constexpr DType statistic_dtype(DType dtype) {
  return dtype == DType::kF64 ? DType::kF64 : DType::kF32;
}

/// "f32", "f64", "bf16", "i32", "u16", "u8", "i8".
std::string_view dtype_name(DType dtype);

template <typename T>
inline constexpr DType kDTypeOf = DType::kF32;
template <>
inline constexpr DType kDTypeOf<double> = DType::kF64;
template <>
inline constexpr DType kDTypeOf<BFloat16> = DType::kBF16;
template <>
inline constexpr DType kDTypeOf<std::int32_t> = DType::kI32;
template <>
inline constexpr DType kDTypeOf<std::uint16_t> = DType::kU16;
template <>
inline constexpr DType kDTypeOf<std::uint8_t> = DType::kU8;
template <>
inline constexpr DType kDTypeOf<std::int8_t> = DType::kI8;

/// What CPU kernels compute in with elements of type T, and the type of their statistics (see
/// statistic_dtype): double for double, else float.
template <typename T>
using RealOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

/// An element as a kernel computes with it.
template <typename T>
constexpr RealOf<T> widen(T x) {
  return static_cast<RealOf<T>>(x);
}

/// to = value, rounded. (Stores of a whole struct do not vectorise: 1.5 against 18 GB/s of f32 on
/// one core.)
template <typename T>
void put(T& to, RealOf<T> value) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    to.bits = BFloat16(value).bits;
  } else {
    to = value;
  }
}

/// Calls `visit.template operator()<T>()` with float or double, for kernels that hold what they
/// read and write as they compute with it.
template <typename Visit>
decltype(auto) visit_real(DType dtype, Visit&& visit) {
  switch (dtype) {
    case DType::kF32:
      return visit.template operator()<float>();
    case DType::kF64:
      return visit.template operator()<double>();
    case DType::kBF16:
    case DType::kI32:
    case DType::kU16:
    case DType::kU8:
    case DType::kI8:
      break;
  }
  fail("dtype {} has no CPU kernel here; expected f32 or f64", dtype_name(dtype));
}

/// The same with BFloat16 as well: storage, to be read by `widen` and written by `put`.
template <typename Visit>
decltype(auto) visit_floating(DType dtype, Visit&& visit) {
  return dtype == DType::kBF16 ? visit.template operator()<BFloat16>()
                               : visit_real(dtype, std::forward<Visit>(visit));
}

inline double to_double(float x) { return x; }
inline double to_double(double x) { return x; }
inline double to_double(BFloat16 x) { return static_cast<float>(x); }

}  // namespace ghost
