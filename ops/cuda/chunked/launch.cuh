#pragma once

#include "engine/device/cuda/dtype.cuh"
#include "engine/device/cuda/reduce.cuh"
#include "ops/cuda/chunked/pass.h"
#include "ops/cuda/column_sums.h"
#include "ops/cuda/common/grid_stride.cuh"

namespace ghost::cuda {

/// The lanes of a warp as steps see them. Called on a GPU only; the host's bodies let nvcc compile
/// steps for both sides.
struct WarpLanes {
  static constexpr int kCount = kWarpSize;

  __host__ __device__ __forceinline__ int index() const {
#ifdef __CUDA_ARCH__
    return static_cast<int>(threadIdx.x);
#else
    return 0;
#endif
  }
  /// All lanes must call; all get the sum.
  __host__ __device__ __forceinline__ float sum(float value) const {
#ifdef __CUDA_ARCH__
    return warp_sum(value);
#else
    return value;
#endif
  }
};

/// Warps of a block that have a row each.
inline constexpr int kRowWarps = kThreads / kWarpSize;

// One element a thread.
template <typename Step>
__global__ void __launch_bounds__(kThreads) run_each(std::int64_t n, Step step) {
  for (std::int64_t i = first_index(); i < n; i += index_stride()) {
    step(static_cast<std::uint32_t>(i));
  }
}

// One row a warp; a warp leaves the loop as a whole. Launch: blockDim = (32, kRowWarps).
template <typename Step>
__global__ void __launch_bounds__(kThreads) run_rows(std::int64_t n, Step step) {
  for (std::int64_t row = std::int64_t{blockIdx.x} * kRowWarps + threadIdx.y; row < n;
       row += std::int64_t{gridDim.x} * kRowWarps) {
    step(static_cast<std::uint32_t>(row), WarpLanes{});
  }
}

/// Calls `visit.template operator()<T>()` with float or BFloat16, the element of passes.
template <typename Visit>
void visit_chunked_dtype(DType dtype, std::string_view name, Visit&& visit) {
  visit_gpu_real(dtype, name, [&]<typename T>() {
    visit.template operator()<std::conditional_t<std::is_same_v<T, float>, float, BFloat16>>();
  });
}

/// Runs passes (pass.h) on a device's stream.
class DeviceLaunch {
 public:
  using Lanes = WarpLanes;

  explicit DeviceLaunch(const Context& ctx) : ctx_(ctx) {}
  const Context& context() const { return ctx_; }

  template <typename Step>
  void each(std::int64_t n, const Step& step) const {
    check_count(n);
    run_each<<<num_blocks(ctx_.device(), n, kThreads), kThreads, 0, stream_of(ctx_.device())>>>(
        n, step);
    check_launch("run_each");
  }
  template <typename Step>
  void rows(std::int64_t n, const Step& step) const {
    check_count(n);
    run_rows<<<num_blocks(ctx_.device(), n * kWarpSize, kThreads), dim3(kWarpSize, kRowWarps), 0,
               stream_of(ctx_.device())>>>(n, step);
    check_launch("run_rows");
  }
  void multiply(const Gemm& args) const { gemm(ctx_.device(), args); }
  void add_parts(const Tensor& partial, const Tensor& out, bool accumulate) const {
    cuda::add_parts(partial, out, accumulate);
  }

 private:
  static void check_count(std::int64_t n) {
    constexpr std::int64_t kMost = std::int64_t{1} << 32;
    GHOST_CHECK(n < kMost,
                "a chunked core: {} elements in one step on a GPU; expected fewer than {}", n,
                kMost);
  }

  const Context& ctx_;
};

}  // namespace ghost::cuda
