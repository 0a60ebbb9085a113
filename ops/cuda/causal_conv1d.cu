#include <algorithm>

#include "engine/device/cuda/stream.h"
#include "ops/causal_conv1d_kernels.h"
#include "ops/cuda/column_sums.h"
#include "ops/cuda/common/block_column_sum.cuh"
#include "ops/cuda/common/channel_run.cuh"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/cuda/sigmoid.cuh"

// A thread has kLanes neighbouring channels and walks over kRunTokens tokens, with the last kTaps
// of its inputs in registers; a warp has 32 kLanes neighbouring channels, so its accesses are whole
// lines. K taps are padded with zeros in front to kTaps of them.

namespace ghost::cuda {
namespace {

constexpr int kRunTokens = 16;
constexpr int kRuns = 8;  // side by side in a block
constexpr int kFewTaps = 4;
constexpr int kMostTaps = 16;
constexpr std::int64_t kMostBlocksAcross = 65535;

template <typename T>
struct ConvInput {
  const T* x;       // [B, T, C]
  const T* state;   // [B, K-1, C] or null
  const T* weight;  // [C, K]
  const T* bias;    // [C] or null
  std::int64_t batch;
  std::int64_t seq_len;
  std::int64_t channels;
  int taps;  // K
  bool has_silu;
};

/// First of the channels that this thread has.
template <int kLanes>
__device__ __forceinline__ std::int64_t first_channel() {
  return (std::int64_t{blockIdx.x} * kWarpSize + threadIdx.x) * kLanes;
}

// Token t of batch entry b from channel c on; zeros outside of the sequence and its state.
template <typename T, int kLanes>
__device__ __forceinline__ void load_token(const ConvInput<T>& in, std::int64_t b, std::int64_t t,
                                           std::int64_t c, float (&out)[kLanes]) {
  const std::int64_t before = in.taps - 1;
  if (t >= 0 && t < in.seq_len) {
    load_run(in.x + (b * in.seq_len + t) * in.channels + c, out);
  } else if (t < 0 && t >= -before && in.state != nullptr) {
    load_run(in.state + (b * before + before + t) * in.channels + c, out);
  } else {
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      out[lane] = 0;
    }
  }
}

/// Weights and bias of a thread's channels.
template <int kTaps, int kLanes>
struct Filter {
  float weight[kTaps][kLanes];
  float bias[kLanes];

  template <typename T>
  __device__ __forceinline__ Filter(const ConvInput<T>& in, std::int64_t c) {
    const int pad = kTaps - in.taps;
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
#pragma unroll
      for (int k = 0; k < kTaps; ++k) {
        weight[k][lane] = k < pad ? 0.0F : to_float(in.weight[(c + lane) * in.taps + (k - pad)]);
      }
      bias[lane] = in.bias == nullptr ? 0.0F : to_float(in.bias[c + lane]);
    }
  }

  /// What goes into silu for the last token of the window.
  __device__ __forceinline__ void apply(const float (&window)[kTaps][kLanes],
                                        float (&out)[kLanes]) const {
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      out[lane] = bias[lane];
#pragma unroll
      for (int k = 0; k < kTaps; ++k) {
        out[lane] += weight[k][lane] * window[k][lane];
      }
    }
  }

  /// The cotangent of the token that is the first of those whose cotangents these are:
  /// sum_k weight[k] g[K-1-k].
  __device__ __forceinline__ void apply_reversed(const float (&g)[kTaps][kLanes],
                                                 float (&out)[kLanes]) const {
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      out[lane] = 0;
#pragma unroll
      for (int k = 0; k < kTaps; ++k) {
        out[lane] += weight[k][lane] * g[kTaps - 1 - k][lane];
      }
    }
  }
};

// Makes room for a token at the end.
template <int kTaps, int kLanes>
__device__ __forceinline__ void shift(float (&window)[kTaps][kLanes]) {
#pragma unroll
  for (int k = 0; k + 1 < kTaps; ++k) {
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
      window[k][lane] = window[k + 1][lane];
    }
  }
}

// The window as it is before token t is shifted in.
template <typename T, int kTaps, int kLanes>
__device__ __forceinline__ void load_window(const ConvInput<T>& in, std::int64_t b, std::int64_t t,
                                            std::int64_t c, float (&window)[kTaps][kLanes]) {
#pragma unroll
  for (int k = 1; k < kTaps; ++k) {
    load_token(in, b, t - kTaps + k, c, window[k]);
  }
#pragma unroll
  for (int lane = 0; lane < kLanes; ++lane) {
    window[0][lane] = 0;
  }
}

// Traffic: x once and kTaps - 1 of 16 tokens again, from cache for the most part; y once.
// Launch: blockDim = (32, 8), gridDim = (channels / 32 kLanes, runs of tokens / 8).
template <typename T, int kTaps, int kLanes>
__global__ void __launch_bounds__(kWarpSize* kRuns)
    convolve(const ConvInput<T> in, T* __restrict__ y) {
  const std::int64_t c = first_channel<kLanes>();
  if (c >= in.channels) {
    return;
  }
  const Filter<kTaps, kLanes> filter(in, c);
  const std::int64_t runs = (in.seq_len + kRunTokens - 1) / kRunTokens;
  for (std::int64_t run = std::int64_t{blockIdx.y} * kRuns + threadIdx.y; run < in.batch * runs;
       run += std::int64_t{gridDim.y} * kRuns) {
    const std::int64_t b = run / runs;
    const std::int64_t begin = run % runs * kRunTokens;
    const std::int64_t end = begin + kRunTokens < in.seq_len ? begin + kRunTokens : in.seq_len;
    float window[kTaps][kLanes];
    load_window(in, b, begin, c, window);
    for (std::int64_t t = begin; t < end; ++t) {
      shift(window);
      load_token(in, b, t, c, window[kTaps - 1]);
      float out[kLanes];
      filter.apply(window, out);
      if (in.has_silu) {
#pragma unroll
        for (int lane = 0; lane < kLanes; ++lane) {
          out[lane] *= sigmoid(out[lane]);
        }
      }
      store_run(y + (b * in.seq_len + t) * in.channels + c, out);
    }
  }
}

template <typename T>
struct ConvBackward {
  ConvInput<T> in;
  const T* dy;             // [rows, T, C], rows of all cotangents: P B
  T* dx;                   // [rows, T, C] or null
  T* dstate;               // [rows, K-1, C] or null
  float* dweight_partial;  // [parts, C, K] or null
  float* dbias_partial;    // [parts, C] or null
  std::int64_t rows;

  /// Positions are those of x, after those of the state where its cotangent is wanted.
  __host__ __device__ std::int64_t first_position() const {
    return dstate == nullptr ? 0 : 1 - in.taps;
  }
  /// Runs of positions of a row.
  __host__ __device__ std::int64_t runs() const {
    return (in.seq_len - first_position() + kRunTokens - 1) / kRunTokens;
  }
};

// With g = dy * silu'(l) of token t, l made again from the window:
//   dweight[k] += g x[t-(K-1)+k],   dbias += g,   and position t-(K-1) has all that its cotangent
// is made of. A run counts the g of its own positions and walks on for K-1 tokens to complete the
// last ones. Sums stay in registers until the end, their order depends on the launch alone.
// Traffic: x, dy and dx once, kTaps - 1 of 16 tokens of x and dy twice more, from cache.
// Launch: blockDim = (32, 8), gridDim = (channels / 32 kLanes, parts).
template <typename T, int kTaps, int kLanes, bool kHasWeights>
__global__ void __launch_bounds__(kWarpSize* kRuns) convolve_backward(const ConvBackward<T> args) {
  __shared__ float shared[kHasWeights ? kRuns : 1][kWarpSize * kLanes];
  const ConvInput<T>& in = args.in;
  const std::int64_t c = first_channel<kLanes>();
  float dweight[kTaps][kLanes] = {};
  float dbias[kLanes] = {};
  if (c < in.channels) {
    const Filter<kTaps, kLanes> filter(in, c);
    const std::int64_t first = args.first_position();
    const std::int64_t runs = args.runs();
    for (std::int64_t run = std::int64_t{blockIdx.y} * kRuns + threadIdx.y; run < args.rows * runs;
         run += std::int64_t{gridDim.y} * kRuns) {
      const std::int64_t row = run / runs;
      const std::int64_t b = row % in.batch;
      const std::int64_t begin = first + run % runs * kRunTokens;
      const std::int64_t end = begin + kRunTokens < in.seq_len ? begin + kRunTokens : in.seq_len;
      float window[kTaps][kLanes];
      float g[kTaps][kLanes] = {};
      load_window(in, b, begin, c, window);
      for (std::int64_t t = begin; t < end + kTaps - 1; ++t) {
        shift(window);
        shift(g);
        load_token(in, b, t, c, window[kTaps - 1]);
        float(&latest)[kLanes] = g[kTaps - 1];
        if (t >= 0 && t < in.seq_len) {
          load_run(args.dy + (row * in.seq_len + t) * in.channels + c, latest);
          if (in.has_silu) {
            float l[kLanes];
            filter.apply(window, l);
#pragma unroll
            for (int lane = 0; lane < kLanes; ++lane) {
              const float s = sigmoid(l[lane]);
              latest[lane] *= s * (1.0F + l[lane] * (1.0F - s));
            }
          }
        } else {
#pragma unroll
          for (int lane = 0; lane < kLanes; ++lane) {
            latest[lane] = 0;
          }
        }
        if (kHasWeights && t < end) {
#pragma unroll
          for (int lane = 0; lane < kLanes; ++lane) {
            dbias[lane] += latest[lane];
#pragma unroll
            for (int k = 0; k < kTaps; ++k) {
              dweight[k][lane] += latest[lane] * window[k][lane];
            }
          }
        }
        const std::int64_t position = t - (kTaps - 1);
        if (position < begin) {
          continue;
        }
        float out[kLanes];
        filter.apply_reversed(g, out);
        if (position < 0) {
          const std::int64_t before = in.taps - 1;
          store_run(args.dstate + (row * before + before + position) * in.channels + c, out);
        } else if (args.dx != nullptr) {
          store_run(args.dx + (row * in.seq_len + position) * in.channels + c, out);
        }
      }
    }
  }
  if constexpr (kHasWeights) {
    const int column = static_cast<int>(threadIdx.y * kWarpSize + threadIdx.x);
    const std::int64_t channel = std::int64_t{blockIdx.x} * kWarpSize * kLanes + column;
    const bool is_column = column < kWarpSize * kLanes && channel < in.channels;
    const std::int64_t at = std::int64_t{blockIdx.y} * in.channels + channel;
    const int pad = kTaps - in.taps;
#pragma unroll
    for (int k = 0; k < kTaps; ++k) {
      const float total = block_column_sum(dweight[k], shared);
      if (is_column && k >= pad && args.dweight_partial != nullptr) {
        args.dweight_partial[at * in.taps + (k - pad)] = total;
      }
    }
    const float total = block_column_sum(dbias, shared);
    if (is_column && args.dbias_partial != nullptr) {
      args.dbias_partial[at] = total;
    }
  }
}

// One element a thread: few tokens.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    copy_last_tokens(const ConvInput<T> in, T* __restrict__ next, std::int64_t n) {
  const std::int64_t before = in.taps - 1;
  for (std::int64_t i = first_index(); i < n; i += index_stride()) {
    const std::int64_t c = i % in.channels;
    const std::int64_t row = i / in.channels;
    float value[1];
    load_token(in, row / before, in.seq_len - before + row % before, c, value);
    next[i] = from_float<T>(value[0]);
  }
}

template <typename T, typename Args>
ConvInput<T> input_of(const Args& args) {
  return {.x = elements<T>(args.x),
          .state = elements<T>(args.state),
          .weight = elements<T>(args.weight),
          .bias = elements<T>(args.bias),
          .batch = args.x.dim(0),
          .seq_len = args.x.dim(1),
          .channels = args.x.dim(2),
          .taps = static_cast<int>(args.weight.dim(-1)),
          .has_silu = args.has_silu};
}

/// Calls `visit.operator()<kTaps, kLanes>()`.
template <typename T, typename Visit, typename... Pointers>
void visit_form(const ConvInput<T>& in, Visit&& visit, const Pointers*... pointers) {
  constexpr int kLanes = 4;
  if (in.taps > kFewTaps) {
    visit.template operator()<kMostTaps, 1>();
  } else if (in.channels % kLanes == 0 && are_aligned(pointers...)) {
    visit.template operator()<kFewTaps, kLanes>();
  } else {
    visit.template operator()<kFewTaps, 1>();
  }
}

dim3 grid_for(std::int64_t channels, int lanes, std::int64_t blocks_of_runs) {
  const std::int64_t columns = std::int64_t{kWarpSize} * lanes;
  return {static_cast<unsigned>((channels + columns - 1) / columns),
          static_cast<unsigned>(std::min(blocks_of_runs, kMostBlocksAcross))};
}

void check_taps(const Tensor& weight) {
  GHOST_CHECK(weight.dim(-1) <= kMostTaps, "causal_conv1d: {} taps; expected {} at most on a GPU",
              weight.dim(-1), kMostTaps);
}

}  // namespace

void causal_conv1d(const CausalConv1dForward& args) {
  check_taps(args.weight);
  visit_gpu_real(args.x.dtype(), "causal_conv1d", [&]<typename T>() {
    const auto in = input_of<T>(args);
    T* y = elements<T>(args.y);
    const std::int64_t runs = in.batch * ((in.seq_len + kRunTokens - 1) / kRunTokens);
    visit_form(
        in,
        [&]<int kTaps, int kLanes>() {
          const dim3 grid = grid_for(in.channels, kLanes, (runs + kRuns - 1) / kRuns);
          convolve<T, kTaps, kLanes><<<grid, dim3(kWarpSize, kRuns), 0, stream_of(args.x)>>>(in, y);
        },
        in.x, in.state, y);
  });
  check_launch("convolve");
}

void causal_conv1d(const CausalConv1dBackward& args) {
  check_taps(args.weight);
  const Tensor& partial = args.dweight.defined() ? args.dweight_partial : args.dbias_partial;
  visit_gpu_real(args.x.dtype(), "causal_conv1d", [&]<typename T>() {
    const ConvBackward<T> kernel_args{.in = input_of<T>(args),
                                      .dy = elements<T>(args.dy),
                                      .dx = elements<T>(args.dx),
                                      .dstate = elements<T>(args.dstate),
                                      .dweight_partial = elements<float>(args.dweight_partial),
                                      .dbias_partial = elements<float>(args.dbias_partial),
                                      .rows = args.dy.dim(0) * args.dy.dim(1)};
    const ConvInput<T>& in = kernel_args.in;
    const std::int64_t runs = kernel_args.rows * kernel_args.runs();
    visit_form(
        in,
        [&]<int kTaps, int kLanes>() {
          const std::int64_t blocks =
              partial.defined() ? partial.dim(0) : (runs + kRuns - 1) / kRuns;
          const dim3 grid = grid_for(in.channels, kLanes, blocks);
          const auto launch = [&](auto kernel) {
            kernel<<<grid, dim3(kWarpSize, kRuns), 0, stream_of(args.x)>>>(kernel_args);
          };
          if (partial.defined()) {
            launch(convolve_backward<T, kTaps, kLanes, true>);
          } else {
            launch(convolve_backward<T, kTaps, kLanes, false>);
          }
        },
        in.x, in.state, kernel_args.dy, kernel_args.dx, kernel_args.dstate);
  });
  check_launch("convolve_backward");
  if (args.dweight.defined()) {
    add_parts(args.dweight_partial, args.dweight, args.accumulate_dweight);
  }
  if (args.dbias.defined()) {
    add_parts(args.dbias_partial, args.dbias, args.accumulate_dbias);
  }
}

void causal_conv1d(const CausalConv1dState& args) {
  const std::int64_t n = args.next.numel();
  if (n == 0) {
    return;
  }
  visit_gpu_real(args.x.dtype(), "causal_conv1d", [&]<typename T>() {
    const ConvInput<T> in{.x = elements<T>(args.x),
                          .state = elements<T>(args.state),
                          .batch = args.x.dim(0),
                          .seq_len = args.x.dim(1),
                          .channels = args.x.dim(2),
                          .taps = static_cast<int>(args.next.dim(1)) + 1};
    copy_last_tokens<T><<<blocks_for(args.next, n), kThreads, 0, stream_of(args.next)>>>(
        in, elements<T>(args.next), n);
  });
  check_launch("copy_last_tokens");
}

}  // namespace ghost::cuda
