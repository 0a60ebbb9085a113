#include "engine/device/cuda/reduce.cuh"
#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "ops/cuda/column_sums.h"

namespace ghost::cuda {
namespace {

constexpr int kLanes = 8;  // columns a thread sums
constexpr int kColumns = kWarpSize * kLanes;
constexpr int kWarps = 8;

// A block sums 256 columns over every gridDim.y-th group of 8 rows: a warp takes a row, a lane 8
// columns; the 8 warps are added in order through shared memory. Traffic: x once.
// Launch: blockDim = (32, 8), gridDim = (columns / 256, parts).
template <typename T>
__global__ void __launch_bounds__(kWarpSize* kWarps)
    sum_columns_of_part(const T* __restrict__ x, float* __restrict__ partial, std::int64_t rows,
                        std::int64_t cols, bool is_aligned) {
  __shared__ float shared[kWarps][kColumns];
  const int first = static_cast<int>(threadIdx.x) * kLanes;
  const std::int64_t begin = std::int64_t{blockIdx.x} * kColumns;
  const std::int64_t left = cols - begin - first;  // negative for lanes past the last column
  float sums[kLanes] = {};
#pragma unroll 4
  for (std::int64_t row = std::int64_t{blockIdx.y} * kWarps + threadIdx.y; row < rows;
       row += std::int64_t{gridDim.y} * kWarps) {
    float values[kLanes];
    load_lanes<kLanes>(x + row * cols + begin + first, left, is_aligned, values);
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      sums[lane] += values[lane];
    }
  }
#pragma unroll
  for (int lane = 0; lane < kLanes; ++lane) {
    shared[threadIdx.y][first + lane] = sums[lane];
  }
  __syncthreads();
  const int column = static_cast<int>(threadIdx.y * kWarpSize + threadIdx.x);  // 0 to 255
  if (begin + column < cols) {
    float total = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      total += shared[warp][column];
    }
    partial[std::int64_t{blockIdx.y} * cols + begin + column] = total;
  }
}

// A block adds the parts of 32 columns: each of 8 warps every 8th part, then the warps in order.
// Launch: blockDim = (32, 8), gridDim = columns / 32.
__global__ void __launch_bounds__(kWarpSize* kWarps)
    add_parts_in_order(const float* __restrict__ partial, float* __restrict__ out,
                       std::int64_t parts, std::int64_t cols, bool accumulate) {
  __shared__ float shared[kWarps][kWarpSize];
  const std::int64_t column = std::int64_t{blockIdx.x} * kWarpSize + threadIdx.x;
  float sum = 0;
  if (column < cols) {
#pragma unroll 8
    for (std::int64_t part = threadIdx.y; part < parts; part += kWarps) {
      sum += partial[part * cols + column];
    }
  }
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y == 0 && column < cols) {
    float total = accumulate ? out[column] : 0.0F;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      total += shared[warp][threadIdx.x];
    }
    out[column] = total;
  }
}

}  // namespace

void column_sums(const Tensor& x, const Tensor& partial, const Tensor& out, bool accumulate) {
  const std::int64_t cols = out.numel();
  const std::int64_t rows = x.numel() / cols;
  const dim3 grid(static_cast<unsigned>((cols + kColumns - 1) / kColumns),
                  static_cast<unsigned>(partial.dim(0)));
  visit_gpu_real(x.dtype(), "column sums", [&]<typename T>() {
    const bool is_aligned = are_aligned(x.raw()) && cols % kVectorLanes<T> == 0;
    sum_columns_of_part<T><<<grid, dim3(kWarpSize, kWarps), 0, stream_of(x)>>>(
        elements<T>(x), elements<float>(partial), rows, cols, is_aligned);
  });
  check_launch("sum_columns_of_part");
  add_parts(partial, out, accumulate);
}

void add_parts(const Tensor& partial, const Tensor& out, bool accumulate) {
  const std::int64_t cols = out.numel();
  const auto grid = static_cast<unsigned>((cols + kWarpSize - 1) / kWarpSize);
  add_parts_in_order<<<grid, dim3(kWarpSize, kWarps), 0, stream_of(out)>>>(
      elements<float>(partial), elements<float>(out), partial.numel() / cols, cols, accumulate);
  check_launch("add_parts_in_order");
}

}  // namespace ghost::cuda
