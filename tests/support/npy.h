#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "engine/core/error.h"

namespace ghost::test {

/// Element type as NumPy's header spells it; those that golden vectors use.
template <class T>
constexpr const char* npy_dtype() {
  if constexpr (std::is_same_v<T, double>) {
    return "<f8";
  } else if constexpr (std::is_same_v<T, float>) {
    return "<f4";
  } else if constexpr (std::is_same_v<T, std::int32_t>) {
    return "<i4";
  } else if constexpr (std::is_same_v<T, std::uint32_t>) {
    return "<u4";
  } else if constexpr (std::is_same_v<T, std::int8_t>) {
    return "|i1";
  } else {
    static_assert(std::is_same_v<T, std::int64_t>, "an element type that npy files do not hold");
    return "<i8";
  }
}

/// One array of a .npy file, row-major.
struct NpyArray {
  std::vector<std::int64_t> shape;  // empty for a scalar
  std::string dtype;                // "<f8", "<f4", "<i4", "<u4", "<i8" or "|i1"
  std::vector<std::byte> bytes;

  /// The elements. Throws ghost::Error when T is not the dtype.
  template <class T>
  std::span<const T> as() const {
    GHOST_CHECK(dtype == npy_dtype<T>(), "npy array of {} read as {}", dtype, npy_dtype<T>());
    // Heap blocks are aligned for every T above.
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
};

/// Reads format versions 1 to 3, little-endian, C order.
/// Throws ghost::Error naming the file for anything else and for a size that is not the shape's.
/// source  numpy.lib.format
NpyArray read_npy(const std::filesystem::path& path);

}  // namespace ghost::test
