#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include <fmt/format.h>

namespace ghost {

/// Extents of a row-major tensor, at most `kMaxRank` of them. A scalar is [1].
class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims);
  explicit Shape(std::span<const std::int64_t> dims);

  int rank() const { return rank_; }
  /// Extent `i`; negative counts from the end.
  std::int64_t operator[](int i) const;
  std::int64_t back() const { return (*this)[-1]; }
  std::int64_t numel() const;
  std::span<const std::int64_t> dims() const {
    return {dims_.data(), static_cast<std::size_t>(rank_)};
  }

  Shape without_first() const;
  Shape without_last() const;
  Shape with_first(std::int64_t dim) const;  // [dim, ...]
  Shape with_last(std::int64_t dim) const;   // last extent replaced

  bool operator==(const Shape& other) const;

  /// "[8,64,768]"
  std::string text() const;

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

}  // namespace ghost

template <>
struct fmt::formatter<ghost::Shape> : fmt::formatter<std::string> {
  template <typename Context>
  auto format(const ghost::Shape& shape, Context& context) const {
    return fmt::formatter<std::string>::format(shape.text(), context);
  }
};
