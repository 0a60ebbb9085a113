#include "engine/device/cuda/staging.h"
#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "engine/tensor/cuda/primitives.h"

namespace ghost::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 8;  // elements a thread takes at a time: one or two 16-byte accesses

enum class Mode { kReplace, kAdd };

// Reads and writes every element once. `is_aligned` is the same for all threads.
template <Mode kMode, typename To, typename From>
__global__ void __launch_bounds__(kThreads)
    convert_lanes(To* to, const From* from, std::int64_t n, bool is_aligned) {
  const std::int64_t thread = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads * kLanes;
  for (std::int64_t i = thread * kLanes; i < n; i += stride) {
    float values[kLanes];
    load_lanes<kLanes>(from + i, n - i, is_aligned, values);
    if constexpr (kMode == Mode::kAdd) {
      float sums[kLanes];
      load_lanes<kLanes>(to + i, n - i, is_aligned, sums);
#pragma unroll
      for (int lane = 0; lane < kLanes; ++lane) {
        values[lane] += sums[lane];
      }
    }
    store_lanes<kLanes>(to + i, n - i, is_aligned, values);
  }
}

__device__ double widen(double x) { return x; }
__device__ double widen(float x) { return static_cast<double>(x); }
__device__ double widen(__nv_bfloat16 x) { return static_cast<double>(__bfloat162float(x)); }

template <typename T>
__device__ T from_double(double x) {
  if constexpr (std::is_same_v<T, double>) {
    return x;
  } else {
    return from_float<T>(static_cast<float>(x));
  }
}

// The same with f64 on either side: scalars and small state, not worth wide accesses.
template <Mode kMode, typename To, typename From>
__global__ void __launch_bounds__(kThreads)
    convert_doubles(To* to, const From* from, std::int64_t n) {
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < n; i += stride) {
    const double before = kMode == Mode::kAdd ? widen(to[i]) : 0.0;
    to[i] = from_double<To>(before + widen(from[i]));
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) fill_elements(T* x, std::int64_t n, double value) {
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < n; i += stride) {
    x[i] = from_double<T>(value);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) scale_elements(T* x, std::int64_t n, double factor) {
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < n; i += stride) {
    if constexpr (std::is_same_v<T, double>) {
      x[i] *= factor;
    } else {
      x[i] = from_float<T>(to_float(x[i]) * static_cast<float>(factor));
    }
  }
}

/// Calls `visit` with the element type of a floating tensor.
template <typename Visit>
void visit_gpu_floating(DType dtype, std::string_view name, Visit&& visit) {
  if (dtype == DType::kF64) {
    visit.template operator()<double>();
  } else {
    visit_gpu_real(dtype, name, visit);
  }
}

template <Mode kMode>
void convert(const Tensor& destination, const Tensor& source, std::string_view name) {
  const std::int64_t n = source.numel();
  const cudaStream_t stream = stream_of(destination);
  visit_gpu_floating(destination.dtype(), name, [&]<typename To>() {
    visit_gpu_floating(source.dtype(), name, [&]<typename From>() {
      To* to = elements<To>(destination);
      const From* from = elements<From>(source);
      if constexpr (std::is_same_v<To, double> || std::is_same_v<From, double>) {
        convert_doubles<kMode>
            <<<num_blocks(destination.device(), n, kThreads), kThreads, 0, stream>>>(to, from, n);
      } else {
        convert_lanes<kMode>
            <<<num_blocks(destination.device(), n, kThreads, kLanes), kThreads, 0, stream>>>(
                to, from, n, are_aligned(to, from));
      }
    });
  });
  check_launch(name);
}

}  // namespace

void fill_zero(const Tensor& x) {
  check(cudaMemsetAsync(x.raw(), 0, static_cast<std::size_t>(x.bytes()), stream_of(x)),
        "cudaMemsetAsync");
}

void fill(const Tensor& x, double value) {
  const std::int64_t n = x.numel();
  visit_gpu_floating(x.dtype(), "fill", [&]<typename T>() {
    fill_elements<<<num_blocks(x.device(), n, kThreads), kThreads, 0, stream_of(x)>>>(
        elements<T>(x), n, value);
  });
  check_launch("fill");
}

void cast(const Tensor& destination, const Tensor& source) {
  convert<Mode::kReplace>(destination, source, "cast");
}

void accumulate(const Tensor& destination, const Tensor& source) {
  convert<Mode::kAdd>(destination, source, "accumulate");
}

void scale(const Tensor& x, double factor) {
  const std::int64_t n = x.numel();
  visit_gpu_floating(x.dtype(), "scale", [&]<typename T>() {
    scale_elements<<<num_blocks(x.device(), n, kThreads), kThreads, 0, stream_of(x)>>>(
        elements<T>(x), n, factor);
  });
  check_launch("scale");
}

void copy(const Tensor& destination, const Tensor& source) {
  const std::int64_t bytes = source.bytes();
  if (source.device().is_cpu()) {
    upload(destination.device(), destination.raw(), source.raw(), bytes);
    return;
  }
  if (destination.device().is_cpu()) {
    download(source.device(), destination.raw(), source.raw(), bytes);
    return;
  }
  GHOST_CHECK(destination.device() == source.device(),
              "copy from {} to {}; expected one device or the CPU on one side",
              source.device().name(), destination.device().name());
  check(cudaMemcpyAsync(destination.raw(), source.raw(), static_cast<std::size_t>(bytes),
                        cudaMemcpyDeviceToDevice, stream_of(source)),
        "cudaMemcpyAsync");
}

}  // namespace ghost::cuda
