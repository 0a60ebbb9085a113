#include "engine/random/gaussian_matrix.h"

#include <array>
#include <cassert>
#include <type_traits>

#include "engine/device/dispatch.h"
#include "engine/random/cuda/gaussian_matrix.h"
#include "engine/random/philox.h"

namespace ghost {
namespace {

constexpr std::int64_t kParallelElements = 4096;  // below, threads cost more than they save

template <typename T>
T rounded(double x) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    return BFloat16(static_cast<float>(x));
  } else {
    return static_cast<T>(x);
  }
}

void draw_on_cpu(const GaussianMatrix& matrix, const Tensor& out, std::int64_t first_row,
                 std::int64_t first_column) {
  const std::int64_t rows = out.dim(0);
  const std::int64_t columns = matrix.columns;
  const std::int64_t stride = out.dim(1);
  const Philox philox(matrix.seed);
  visit_floating(out.dtype(), [&]<typename T>() {
    T* place = out.data<T>() + first_column;
#pragma omp parallel for schedule(static) if (rows * columns > kParallelElements)
    for (std::int64_t row = 0; row < rows; ++row) {
      // A counter's four numbers may begin in one row and end in the next.
      std::array<double, 4> lanes{};
      std::int64_t drawn = -1;
      for (std::int64_t column = 0; column < columns; ++column) {
        const std::int64_t element = (first_row + row) * columns + column;
        const std::int64_t counter = element / 4;
        if (counter != drawn) {
          const Philox::Words words =
              philox(static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
                     matrix.id, matrix.generation);
          const auto low = normal_pair(words[0], words[1]);
          const auto high = normal_pair(words[2], words[3]);
          lanes = {low[0], low[1], high[0], high[1]};
          drawn = counter;
        }
        place[row * stride + column] = rounded<T>(lanes[static_cast<std::size_t>(element % 4)]);
      }
    }
  });
}

}  // namespace

void GaussianMatrix::draw(const Tensor& out, std::int64_t first_row,
                          std::int64_t first_column) const {
  assert(first_column + columns <= out.dim(1));
  dispatch(
      out.device(), [&] { draw_on_cpu(*this, out, first_row, first_column); },
      [&] { cuda::draw(*this, out, first_row, first_column); });
}

}  // namespace ghost
