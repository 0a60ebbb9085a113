#include <array>

#include "engine/tensor/primitives.h"
#include "ops/cpu/parallel.h"
#include "ops/pool2d_kernels.h"

namespace ghost::cpu {
namespace {

/// Places of the four elements of a window, in a plane of that width.
std::array<std::int64_t, 4> window(std::int64_t row, std::int64_t col, std::int64_t width) {
  const std::int64_t first = 2 * row * width + 2 * col;
  return {first, first + 1, first + width, first + width + 1};
}

}  // namespace

void pool2d(const Pool2dForward& args) {
  const std::int64_t planes = args.x.dim(0) * args.x.dim(1);
  const std::int64_t width = args.x.dim(3);
  const std::int64_t plane = args.x.dim(2) * width;
  const std::int64_t rows = args.y.dim(2);
  const std::int64_t cols = args.y.dim(3);
  visit_real(args.x.dtype(), [&]<typename T>() {
#pragma omp parallel for schedule(static) if (args.x.numel() > kParallelElements)
    for (std::int64_t p = 0; p < planes; ++p) {
      const T* x = args.x.data<T>() + p * plane;
      for (std::int64_t i = 0; i < rows * cols; ++i) {
        const auto places = window(i / cols, i % cols, width);
        const std::int64_t at = p * rows * cols + i;
        if (args.pooling == Pooling::kAverage) {
          args.y.data<T>()[at] = (x[places[0]] + x[places[1]] + x[places[2]] + x[places[3]]) / 4;
          continue;
        }
        std::int64_t best = places[0];
        for (const std::int64_t place : places) {
          best = x[place] > x[best] ? place : best;
        }
        args.y.data<T>()[at] = x[best];
        args.places.data<std::int32_t>()[at] = static_cast<std::int32_t>(best);
      }
    }
  });
}

void pool2d(const Pool2dBackward& args) {
  const std::int64_t width = args.dx.dim(4);
  const std::int64_t plane = args.dx.dim(3) * width;
  const std::int64_t rows = args.dy.dim(3);
  const std::int64_t cols = args.dy.dim(4);
  const std::int64_t planes = args.dx.dim(1) * args.dx.dim(2);
  fill_zero(args.dx);
  visit_real(args.dx.dtype(), [&]<typename T>() {
#pragma omp parallel for schedule(static) if (args.dx.numel() > kParallelElements)
    for (std::int64_t p = 0; p < args.dx.dim(0) * planes; ++p) {
      T* dx = args.dx.data<T>() + p * plane;
      const T* dy = args.dy.data<T>() + p * rows * cols;
      for (std::int64_t i = 0; i < rows * cols; ++i) {
        if (args.pooling == Pooling::kMax) {
          dx[args.places.data<std::int32_t>()[p % planes * rows * cols + i]] += dy[i];
          continue;
        }
        for (const std::int64_t place : window(i / cols, i % cols, width)) {
          dx[place] = dy[i] / 4;
        }
      }
    }
  });
}

}  // namespace ghost::cpu
