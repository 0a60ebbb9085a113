#include "engine/comm/rank_sum.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include "engine/device/dispatch.h"

namespace ghost {
namespace {

constexpr std::int64_t kBlock = 1024;  // sums that stay in the nearest cache

template <typename T>
void sum_rows(const T* parts, T* out, std::int64_t rows, std::int64_t cols) {
  using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
  std::array<Sum, kBlock> sums;
  for (std::int64_t begin = 0; begin < cols; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, cols - begin);
    for (std::int64_t i = 0; i < count; ++i) {
      sums[static_cast<std::size_t>(i)] = static_cast<Sum>(parts[begin + i]);
    }
    for (std::int64_t row = 1; row < rows; ++row) {
      const T* part = parts + row * cols + begin;
      for (std::int64_t i = 0; i < count; ++i) {
        sums[static_cast<std::size_t>(i)] += static_cast<Sum>(part[i]);
      }
    }
    for (std::int64_t i = 0; i < count; ++i) {
      out[begin + i] = static_cast<T>(sums[static_cast<std::size_t>(i)]);
    }
  }
}

}  // namespace

void cpu::sum_in_rank_order(const Tensor& parts, const Tensor& out) {
  visit_floating(parts.dtype(), [&]<typename T>() {
    sum_rows(parts.data<T>(), out.data<T>(), parts.dim(0), out.numel());
  });
}

void sum_in_rank_order(const Tensor& parts, const Tensor& out) {
  dispatch(
      parts.device(), [&] { cpu::sum_in_rank_order(parts, out); },
      [&] { cuda::sum_in_rank_order(parts, out); });
}

}  // namespace ghost
