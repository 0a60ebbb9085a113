#pragma once

#include <bit>
#include <cstdint>
#include <string_view>
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

/// Calls `visit.template operator()<T>()` with float or double. The CPU kernels compute in these
/// two; other dtypes are storage.
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
  fail("dtype {} has no CPU kernels; expected f32 or f64", dtype_name(dtype));
}

/// The same with BFloat16 as well: for reading elements, with `to_double`.
template <typename Visit>
decltype(auto) visit_floating(DType dtype, Visit&& visit) {
  return dtype == DType::kBF16 ? visit.template operator()<BFloat16>()
                               : visit_real(dtype, std::forward<Visit>(visit));
}

inline double to_double(float x) { return x; }
inline double to_double(double x) { return x; }
inline double to_double(BFloat16 x) { return static_cast<float>(x); }

}  // namespace ghost
