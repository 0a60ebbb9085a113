#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "engine/random/cuda/philox.cuh"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/dropout_kernels.h"

namespace ghost::cuda {
namespace {

// 16 bytes a thread. Element i has word i % 4 of index i / 4, as on the CPU; the words stay in
// registers while all P tensors pass. Traffic: x and y once.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    drop_elements(const T* __restrict__ x, T* __restrict__ y, PhiloxStream stream,
                  std::uint32_t threshold, float factor, std::int64_t n, std::int64_t basis,
                  bool is_aligned) {
  constexpr int kLanes = kVectorLanes<T>;
  static_assert(kLanes % 4 == 0);
  for_each_run<kLanes>(n, [&](std::int64_t i) {
    float factors[kLanes];
#pragma unroll
    for (int group = 0; group < kLanes / 4; ++group) {
      const uint4 drawn = philox_words(stream, static_cast<std::uint32_t>(i / 4 + group));
      const std::uint32_t words[4] = {drawn.x, drawn.y, drawn.z, drawn.w};
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        factors[4 * group + w] = words[w] >> 8 >= threshold ? factor : 0.0F;
      }
    }
    for (std::int64_t p = 0; p < basis; ++p) {
      float values[kLanes];
      load_lanes<kLanes>(x + p * n + i, n - i, is_aligned, values);
#pragma unroll
      for (int lane = 0; lane < kLanes; ++lane) {
        values[lane] = factors[lane] == 0.0F ? 0.0F : values[lane] * factors[lane];
      }
      store_lanes<kLanes>(y + p * n + i, n - i, is_aligned, values);
    }
  });
}

}  // namespace

void dropout(const Dropout& args) {
  const std::int64_t n = args.x.numel() / args.basis;
  visit_gpu_real(args.x.dtype(), "dropout", [&]<typename T>() {
    const bool is_aligned =
        are_aligned(args.x.raw(), args.y.raw()) && (args.basis == 1 || n % kVectorLanes<T> == 0);
    const int blocks = num_blocks(args.x.device(), n, kThreads, kVectorLanes<T>);
    drop_elements<T><<<blocks, kThreads, 0, stream_of(args.x)>>>(
        elements<T>(args.x), elements<T>(args.y), philox_stream(args.stream), args.threshold,
        static_cast<float>(args.factor), n, args.basis, is_aligned);
  });
  check_launch("drop_elements");
}

}  // namespace ghost::cuda
