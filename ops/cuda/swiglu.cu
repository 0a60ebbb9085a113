#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/cuda/sigmoid.cuh"
#include "ops/swiglu_kernels.h"

namespace ghost::cuda {
namespace {

// Blocks stride over rows, threads over columns, 16 bytes each. Traffic: x and y once.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    swiglu_rows(const T* __restrict__ x, T* __restrict__ y, std::int64_t rows, std::int64_t hidden,
                bool is_aligned) {
  constexpr int kLanes = kVectorLanes<T>;
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    for (std::int64_t i = std::int64_t{threadIdx.x} * kLanes; i < hidden; i += kThreads * kLanes) {
      float gate[kLanes];
      float up[kLanes];
      load_lanes<kLanes>(x + row * 2 * hidden + i, hidden - i, is_aligned, gate);
      load_lanes<kLanes>(x + row * 2 * hidden + hidden + i, hidden - i, is_aligned, up);
#pragma unroll
      for (int lane = 0; lane < kLanes; ++lane) {
        up[lane] *= gate[lane] * sigmoid(gate[lane]);
      }
      store_lanes<kLanes>(y + row * hidden + i, hidden - i, is_aligned, up);
    }
  }
}

// As above; gate and up stay in registers while all P cotangents pass. Traffic: x once, dy and dx
// once each.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    swiglu_rows_backward(const T* __restrict__ x, const T* __restrict__ dy, T* __restrict__ dx,
                         std::int64_t rows, std::int64_t hidden, std::int64_t basis,
                         bool is_aligned) {
  constexpr int kLanes = kVectorLanes<T>;
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    for (std::int64_t i = std::int64_t{threadIdx.x} * kLanes; i < hidden; i += kThreads * kLanes) {
      float of_gate[kLanes];  // dgate = dy * of_gate
      float of_up[kLanes];    // dup = dy * of_up
      load_lanes<kLanes>(x + row * 2 * hidden + i, hidden - i, is_aligned, of_up);
      load_lanes<kLanes>(x + row * 2 * hidden + hidden + i, hidden - i, is_aligned, of_gate);
#pragma unroll
      for (int lane = 0; lane < kLanes; ++lane) {
        const float gate = of_up[lane];
        const float s = sigmoid(gate);
        of_gate[lane] *= s * (1.0F + gate * (1.0F - s));
        of_up[lane] = gate * s;
      }
      for (std::int64_t p = 0; p < basis; ++p) {
        const std::int64_t at = p * rows + row;
        float cotangent[kLanes];
        float dgate[kLanes];
        load_lanes<kLanes>(dy + at * hidden + i, hidden - i, is_aligned, cotangent);
#pragma unroll
        for (int lane = 0; lane < kLanes; ++lane) {
          dgate[lane] = cotangent[lane] * of_gate[lane];
          cotangent[lane] *= of_up[lane];
        }
        store_lanes<kLanes>(dx + at * 2 * hidden + i, hidden - i, is_aligned, dgate);
        store_lanes<kLanes>(dx + at * 2 * hidden + hidden + i, hidden - i, is_aligned, cotangent);
      }
    }
  }
}

}  // namespace

void swiglu(const SwigluForward& args) {
  const std::int64_t hidden = args.y.dim(-1);
  const std::int64_t rows = args.y.numel() / hidden;
  visit_gpu_real(args.x.dtype(), "swiglu", [&]<typename T>() {
    const bool is_aligned =
        are_aligned(args.x.raw(), args.y.raw()) && hidden % kVectorLanes<T> == 0;
    swiglu_rows<T><<<blocks_for(args.x, rows * kThreads), kThreads, 0, stream_of(args.x)>>>(
        elements<T>(args.x), elements<T>(args.y), rows, hidden, is_aligned);
  });
  check_launch("swiglu_rows");
}

void swiglu(const SwigluBackward& args) {
  const std::int64_t hidden = args.dy.dim(-1);
  const std::int64_t rows = args.x.numel() / (2 * hidden);
  visit_gpu_real(args.x.dtype(), "swiglu", [&]<typename T>() {
    const bool is_aligned =
        are_aligned(args.x.raw(), args.dy.raw(), args.dx.raw()) && hidden % kVectorLanes<T> == 0;
    swiglu_rows_backward<T>
        <<<blocks_for(args.x, rows * kThreads), kThreads, 0, stream_of(args.x)>>>(
            elements<T>(args.x), elements<T>(args.dy), elements<T>(args.dx), rows, hidden,
            args.dy.dim(0), is_aligned);
  });
  check_launch("swiglu_rows_backward");
}

}  // namespace ghost::cuda
