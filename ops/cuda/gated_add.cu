#include "engine/device/cuda/reduce.cuh"
#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/gated_add_kernels.h"

namespace ghost::cuda {
namespace {

// y = tanh(gate) * change, with x added where there is one. 16 bytes a thread. Traffic: x, change
// and y once.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    add_share(const T* __restrict__ x, const T* __restrict__ change, const T* __restrict__ gate,
              T* __restrict__ y, std::int64_t n, bool is_aligned) {
  constexpr int kLanes = kVectorLanes<T>;
  const float share = tanhf(to_float(*gate));
  for_each_run<kLanes>(n, [&](std::int64_t i) {
    float values[kLanes];
    float base[kLanes] = {};
    load_lanes<kLanes>(change + i, n - i, is_aligned, values);
    if (x != nullptr) {
      load_lanes<kLanes>(x + i, n - i, is_aligned, base);
    }
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      values[lane] = base[lane] + share * values[lane];
    }
    store_lanes<kLanes>(y + i, n - i, is_aligned, values);
  });
}

// sum of a * b in f64. Traffic: a and b once. Launch: one block a part.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    dot_of_part(const T* __restrict__ a, const T* __restrict__ b, double* __restrict__ partial,
                std::int64_t n, bool is_aligned) {
  constexpr int kLanes = kVectorLanes<T>;
  __shared__ double shared[kWarpSize];
  double total = 0;
  for_each_run<kLanes>(n, [&](std::int64_t i) {
    float left[kLanes];
    float right[kLanes];
    load_lanes<kLanes>(a + i, n - i, is_aligned, left);
    load_lanes<kLanes>(b + i, n - i, is_aligned, right);
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      total += static_cast<double>(left[lane]) * static_cast<double>(right[lane]);
    }
  });
  total = block_sum(total, shared);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = total;
  }
}

// dgate = (1 - tanh(gate)^2) * the sum of the parts. Launch: one block.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    gate_gradient(const double* __restrict__ partial, const T* __restrict__ gate,
                  float* __restrict__ dgate, std::int64_t parts, bool accumulate) {
  __shared__ double shared[kWarpSize];
  double total = 0;
  for (std::int64_t part = threadIdx.x; part < parts; part += kThreads) {
    total += partial[part];
  }
  total = block_sum(total, shared);
  if (threadIdx.x == 0) {
    const float share = tanhf(to_float(*gate));
    *dgate = (accumulate ? *dgate : 0.0F) + (1.0F - share * share) * static_cast<float>(total);
  }
}

template <typename T>
void launch_share(const Tensor& x, const Tensor& change, const Tensor& gate, const Tensor& y) {
  const std::int64_t n = y.numel();
  const T* base = elements<T>(x);
  const bool is_aligned = are_aligned(base, change.raw(), y.raw());
  const int blocks = num_blocks(y.device(), n, kThreads, kVectorLanes<T>);
  add_share<T><<<blocks, kThreads, 0, stream_of(y)>>>(base, elements<T>(change), elements<T>(gate),
                                                      elements<T>(y), n, is_aligned);
  check_launch("add_share");
}

}  // namespace

void gated_add(const GatedAddForward& args) {
  visit_gpu_real(args.y.dtype(), "gated_add",
                 [&]<typename T>() { launch_share<T>(args.x, args.change, args.gate, args.y); });
}

void gated_add(const GatedAddBackward& args) {
  visit_gpu_real(args.dy.dtype(), "gated_add", [&]<typename T>() {
    if (args.dchange.defined()) {
      launch_share<T>({}, args.dy, args.gate, args.dchange);
    }
    if (args.dgate.defined()) {
      const std::int64_t parts = args.partial.numel();
      const cudaStream_t stream = stream_of(args.dy);
      dot_of_part<T><<<static_cast<unsigned>(parts), kThreads, 0, stream>>>(
          elements<T>(args.dy), elements<T>(args.change), elements<double>(args.partial),
          args.dy.numel(), are_aligned(args.dy.raw(), args.change.raw()));
      check_launch("dot_of_part");
      gate_gradient<T>
          <<<1, kThreads, 0, stream>>>(elements<double>(args.partial), elements<T>(args.gate),
                                       elements<float>(args.dgate), parts, args.accumulate);
      check_launch("gate_gradient");
    }
  });
}

}  // namespace ghost::cuda
