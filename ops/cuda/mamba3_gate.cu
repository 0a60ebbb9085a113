#include "engine/device/cuda/stream.h"
#include "ops/cuda/column_sums.h"
#include "ops/cuda/common/block_column_sum.cuh"
#include "ops/cuda/common/channel_run.cuh"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/cuda/sigmoid.cuh"
#include "ops/mamba3_gate_kernels.h"

namespace ghost::cuda {
namespace {

/// Threads have runs of channels of [H, P], each run within one head.
struct GateShape {
  std::int64_t tokens;  // of all batch entries
  std::int64_t ranks;
  std::int64_t width;  // H P
  std::int64_t head_dim;

  /// Where channel c of rank r is among the weights [H, R, P].
  __device__ __forceinline__ std::int64_t weight(std::int64_t c, std::int64_t r) const {
    return (c / head_dim * ranks + r) * head_dim + c % head_dim;
  }
  /// Where it is in o [tokens, R, H P].
  __device__ __forceinline__ std::int64_t out(std::int64_t token, std::int64_t r,
                                              std::int64_t c) const {
    return (token * ranks + r) * width + c;
  }
};

// Ones where there are no weights.
template <typename T, int kRun>
__device__ __forceinline__ void load_weights(const T* weights, std::int64_t at,
                                             float (&out)[kRun]) {
  if (weights != nullptr) {
    load_run(weights + at, out);
    return;
  }
#pragma unroll
  for (int lane = 0; lane < kRun; ++lane) {
    out[lane] = 1;
  }
}

template <typename T>
struct GateForward {
  const T* o;       // [tokens, R, H P]
  const T* z;       // [tokens, H P]
  const T* mimo_z;  // [H, R, P] or null
  const T* mimo_o;  // [H, R, P] or null
  T* y;             // [tokens, H P]
  GateShape shape;
};

// Blocks stride over tokens, threads over channels. Traffic: o, z and y once.
template <typename T, int kRun>
__global__ void __launch_bounds__(kThreads) gate_tokens(const GateForward<T> args) {
  const GateShape& shape = args.shape;
  for (std::int64_t token = blockIdx.x; token < shape.tokens; token += gridDim.x) {
    for (std::int64_t c = std::int64_t{threadIdx.x} * kRun; c < shape.width;
         c += std::int64_t{blockDim.x} * kRun) {
      float z[kRun];
      float y[kRun] = {};
      load_run(args.z + token * shape.width + c, z);
      for (std::int64_t r = 0; r < shape.ranks; ++r) {
        float o[kRun];
        float scale[kRun];
        float share[kRun];
        load_run(args.o + shape.out(token, r, c), o);
        load_weights(args.mimo_z, shape.weight(c, r), scale);
        load_weights(args.mimo_o, shape.weight(c, r), share);
#pragma unroll
        for (int lane = 0; lane < kRun; ++lane) {
          const float u = z[lane] * scale[lane];
          y[lane] += share[lane] * o[lane] * u * sigmoid(u);
        }
      }
      store_run(args.y + token * shape.width + c, y);
    }
  }
}

template <typename T>
struct GateBackward {
  const T* o;              // [tokens, R, H P]
  const T* z;              // [tokens, H P]
  const T* mimo_z;         // [H, R, P] or null
  const T* mimo_o;         // [H, R, P] or null
  const T* dy;             // [P, tokens, H P]
  T* dout;                 // [P, tokens, R, H P] or null
  T* dz;                   // [P, tokens, H P] or null
  float* dmimo_z_partial;  // [parts, H R P] or null
  float* dmimo_o_partial;  // [parts, H R P] or null
  GateShape shape;
  std::int64_t basis;
};

// As above, over the tokens of all cotangents. Traffic: o, z, dy, dout and dz once for each.
template <typename T, int kRun>
__global__ void __launch_bounds__(kThreads) gate_tokens_backward(const GateBackward<T> args) {
  const GateShape& shape = args.shape;
  for (std::int64_t row = blockIdx.x; row < args.basis * shape.tokens; row += gridDim.x) {
    const std::int64_t token = row % shape.tokens;
    for (std::int64_t c = std::int64_t{threadIdx.x} * kRun; c < shape.width;
         c += std::int64_t{blockDim.x} * kRun) {
      float z[kRun];
      float dy[kRun];
      float dz[kRun] = {};
      load_run(args.z + token * shape.width + c, z);
      load_run(args.dy + row * shape.width + c, dy);
      for (std::int64_t r = 0; r < shape.ranks; ++r) {
        float o[kRun];
        float scale[kRun];
        float share[kRun];
        float dout[kRun];
        load_run(args.o + shape.out(token, r, c), o);
        load_weights(args.mimo_z, shape.weight(c, r), scale);
        load_weights(args.mimo_o, shape.weight(c, r), share);
#pragma unroll
        for (int lane = 0; lane < kRun; ++lane) {
          const float u = z[lane] * scale[lane];
          const float s = sigmoid(u);
          const float g = dy[lane] * share[lane];
          dout[lane] = g * u * s;
          dz[lane] += g * o[lane] * s * (1.0F + u * (1.0F - s)) * scale[lane];
        }
        if (args.dout != nullptr) {
          store_run(args.dout + shape.out(row, r, c), dout);
        }
      }
      if (args.dz != nullptr) {
        store_run(args.dz + row * shape.width + c, dz);
      }
    }
  }
}

constexpr int kWarps = 8;

// A block sums 32 kRun channels of one rank over every gridDim.y-th group of 8 tokens: a warp takes
// a token, a lane a run. Traffic: o once; z and dy once for each rank, from cache but for the
// first. Launch: blockDim = (32, 8), gridDim = (channels / 32 kRun, parts, R).
template <typename T, int kRun>
__global__ void __launch_bounds__(kWarpSize* kWarps)
    sum_weight_gradients(const GateBackward<T> args) {
  __shared__ float shared[kWarps][kWarpSize * kRun];
  const GateShape& shape = args.shape;
  const std::int64_t r = blockIdx.z;
  const std::int64_t begin = std::int64_t{blockIdx.x} * kWarpSize * kRun;
  const std::int64_t c = begin + std::int64_t{threadIdx.x} * kRun;
  float dmimo_z[kRun] = {};
  float dmimo_o[kRun] = {};
  if (c < shape.width) {
    float scale[kRun];
    float share[kRun];
    load_weights(args.mimo_z, shape.weight(c, r), scale);
    load_weights(args.mimo_o, shape.weight(c, r), share);
#pragma unroll 2
    for (std::int64_t token = std::int64_t{blockIdx.y} * kWarps + threadIdx.y; token < shape.tokens;
         token += std::int64_t{gridDim.y} * kWarps) {
      float z[kRun];
      float dy[kRun];
      float o[kRun];
      load_run(args.z + token * shape.width + c, z);
      load_run(args.dy + token * shape.width + c, dy);
      load_run(args.o + shape.out(token, r, c), o);
#pragma unroll
      for (int lane = 0; lane < kRun; ++lane) {
        const float u = z[lane] * scale[lane];
        const float s = sigmoid(u);
        const float g = dy[lane] * o[lane];
        dmimo_o[lane] += g * u * s;
        dmimo_z[lane] += g * share[lane] * s * (1.0F + u * (1.0F - s)) * z[lane];
      }
    }
  }
  const float total_z = block_column_sum(dmimo_z, shared);
  const float total_o = block_column_sum(dmimo_o, shared);
  const int column = static_cast<int>(threadIdx.y * kWarpSize + threadIdx.x);
  if (column < kWarpSize * kRun && begin + column < shape.width) {
    const std::int64_t at =
        std::int64_t{blockIdx.y} * shape.width * shape.ranks + shape.weight(begin + column, r);
    if (args.dmimo_z_partial != nullptr) {
      args.dmimo_z_partial[at] = total_z;
    }
    if (args.dmimo_o_partial != nullptr) {
      args.dmimo_o_partial[at] = total_o;
    }
  }
}

GateShape shape_of(const Tensor& o) {
  return {.tokens = o.dim(0) * o.dim(1),
          .ranks = o.dim(2),
          .width = o.dim(3) * o.dim(4),
          .head_dim = o.dim(4)};
}

/// Calls `visit.operator()<kRun>()`: 16 bytes where no run leaves its head, else one channel.
template <typename T, typename Visit, typename... Pointers>
void visit_run(const GateShape& shape, Visit&& visit, const Pointers*... pointers) {
  if (shape.head_dim % kVectorLanes<T> == 0 && are_aligned(pointers...)) {
    visit.template operator()<kVectorLanes<T>>();
  } else {
    visit.template operator()<1>();
  }
}

template <typename T>
void launch(const Tensor& x, const GateForward<T>& args) {
  const int blocks = num_blocks(x.device(), args.shape.tokens * kThreads, kThreads);
  visit_run<T>(
      args.shape,
      [&]<int kRun>() {
        gate_tokens<T, kRun><<<blocks, kThreads, 0, stream_of(x)>>>(args);
        check_launch("gate_tokens");
      },
      args.o, args.z, args.mimo_z, args.mimo_o, args.y);
}

template <typename T>
void launch(const Tensor& x, const GateBackward<T>& args, std::int64_t parts) {
  const auto run = [&]<int kRun>() {
    if (args.dout != nullptr || args.dz != nullptr) {
      const int blocks =
          num_blocks(x.device(), args.basis * args.shape.tokens * kThreads, kThreads);
      gate_tokens_backward<T, kRun><<<blocks, kThreads, 0, stream_of(x)>>>(args);
      check_launch("gate_tokens_backward");
    }
    if (parts > 0) {
      constexpr std::int64_t kColumns = std::int64_t{kWarpSize} * kRun;
      const dim3 grid(static_cast<unsigned>((args.shape.width + kColumns - 1) / kColumns),
                      static_cast<unsigned>(parts), static_cast<unsigned>(args.shape.ranks));
      sum_weight_gradients<T, kRun><<<grid, dim3(kWarpSize, kWarps), 0, stream_of(x)>>>(args);
      check_launch("sum_weight_gradients");
    }
  };
  visit_run<T>(args.shape, run, args.o, args.z, args.mimo_z, args.mimo_o, args.dy, args.dout,
               args.dz);
}

}  // namespace

void mamba3_gate(const Mamba3GateForward& args) {
  visit_gpu_real(args.o.dtype(), "mamba3_gate", [&]<typename T>() {
    launch(args.o, GateForward<T>{.o = elements<T>(args.o),
                                  .z = elements<T>(args.z),
                                  .mimo_z = elements<T>(args.mimo_z),
                                  .mimo_o = elements<T>(args.mimo_o),
                                  .y = elements<T>(args.y),
                                  .shape = shape_of(args.o)});
  });
}

void mamba3_gate(const Mamba3GateBackward& args) {
  const Tensor& partial = args.dmimo_z.defined() ? args.dmimo_z_partial : args.dmimo_o_partial;
  visit_gpu_real(args.o.dtype(), "mamba3_gate", [&]<typename T>() {
    launch(args.o,
           GateBackward<T>{.o = elements<T>(args.o),
                           .z = elements<T>(args.z),
                           .mimo_z = elements<T>(args.mimo_z),
                           .mimo_o = elements<T>(args.mimo_o),
                           .dy = elements<T>(args.dy),
                           .dout = elements<T>(args.dout),
                           .dz = elements<T>(args.dz),
                           .dmimo_z_partial = elements<float>(args.dmimo_z_partial),
                           .dmimo_o_partial = elements<float>(args.dmimo_o_partial),
                           .shape = shape_of(args.o),
                           .basis = args.dy.dim(0)},
           partial.defined() ? partial.dim(0) : 0);
  });
  if (args.dmimo_z.defined()) {
    add_parts(args.dmimo_z_partial, args.dmimo_z, /*accumulate=*/true);
  }
  if (args.dmimo_o.defined()) {
    add_parts(args.dmimo_o_partial, args.dmimo_o, /*accumulate=*/true);
  }
}

}  // namespace ghost::cuda
