#include <algorithm>

#include "ops/cuda/row_norm.cuh"
#include "ops/cuda/sigmoid.cuh"
#include "ops/gated_rms_norm_kernels.h"

// The groups of a row are rows of their own, [rows G, C / G], with the part of the gain that is
// theirs; threads and channels are shared out as in row_norm.cuh.

namespace ghost::cuda {
namespace {

/// f = silu(z) and f' of 8 channels; 1 and 0 where z is null, as nothing gates.
template <typename T>
__device__ __forceinline__ void load_gate(const T* z, std::int64_t at, std::int64_t left,
                                          bool is_aligned, float (&gate)[kNormLanes],
                                          float (&slope)[kNormLanes]) {
  if (z == nullptr) {
#pragma unroll
    for (int lane = 0; lane < kNormLanes; ++lane) {
      gate[lane] = 1.0F;
      slope[lane] = 0.0F;
    }
    return;
  }
  load_lanes<kNormLanes>(z + at, left, is_aligned, gate);
#pragma unroll
  for (int lane = 0; lane < kNormLanes; ++lane) {
    const float s = sigmoid(gate[lane]);
    slope[lane] = s * (1.0F + gate[lane] * (1.0F - s));
    gate[lane] *= s;
  }
}

template <typename T>
struct GatedForward {
  const T* x;         // [rows G, size]
  const T* z;         // [rows G, size] or null
  const T* gain;      // [G, size]
  T* y;               // [rows G, size]
  float* rstd;        // [rows G]
  std::int64_t rows;  // rows G
  std::int64_t groups;
  std::int64_t size;
  float eps;
  bool is_aligned;
};

// x * silu(z) of a group stays in registers between its statistic and its output. Traffic: x, z
// and y once. Launch: ceil(rows / blockDim.y) blocks.
template <typename T, GateOrder kOrder>
__global__ void __launch_bounds__(kMostNormThreads)
    gate_and_normalize_rows(const GatedForward<T> args) {
  __shared__ float shared[kMostNormThreads / kWarpSize][1];
  const std::int64_t row = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  const bool is_row = row < args.rows;
  const std::int64_t size = is_row ? args.size : 0;
  float gated[kNormForwardChunks][kNormLanes];
  float sums[1] = {0};  // lanes past the group have x = 0
#pragma unroll
  for (int chunk = 0; chunk < kNormForwardChunks; ++chunk) {
    const std::int64_t c = first_channel(chunk);
    float gate[kNormLanes];
    float slope[kNormLanes];  // not used here
    load_lanes<kNormLanes>(args.x + row * args.size + c, size - c, args.is_aligned, gated[chunk]);
    load_gate(args.z, row * args.size + c, size - c, args.is_aligned, gate, slope);
#pragma unroll
    for (int lane = 0; lane < kNormLanes; ++lane) {
      const float x = gated[chunk][lane];
      gated[chunk][lane] *= gate[lane];
      const float term = kOrder == GateOrder::kGateThenNorm ? gated[chunk][lane] : x;
      sums[0] += term * term;
    }
  }
  row_sums(sums, shared);
  const float rstd = rsqrtf(sums[0] / static_cast<float>(args.size) + args.eps);
  if (is_row && threadIdx.x == 0) {
    args.rstd[row] = rstd;
  }
  const T* gain_of_group = args.gain + row % args.groups * args.size;
#pragma unroll
  for (int chunk = 0; chunk < kNormForwardChunks; ++chunk) {
    const std::int64_t c = first_channel(chunk);
    float gain[kNormLanes];
    load_lanes<kNormLanes>(gain_of_group + c, size - c, args.is_aligned, gain);
#pragma unroll
    for (int lane = 0; lane < kNormLanes; ++lane) {
      gated[chunk][lane] *= rstd * gain[lane];
    }
    store_lanes<kNormLanes>(args.y + row * args.size + c, size - c, args.is_aligned, gated[chunk]);
  }
}

// y from the known statistics; both orders end alike: y = gain * x * silu(z) * rstd. Blocks stride
// over groups, threads over channels.
template <typename T>
__global__ void __launch_bounds__(kMostNormThreads)
    apply_gated_norm_to_rows(const GatedForward<T> args) {
  for (std::int64_t row = blockIdx.x; row < args.rows; row += gridDim.x) {
    const float rstd = args.rstd[row];
    const T* gain_of_group = args.gain + row % args.groups * args.size;
    for (std::int64_t c = std::int64_t{threadIdx.x} * kNormLanes; c < args.size;
         c += std::int64_t{blockDim.x} * kNormLanes) {
      const std::int64_t left = args.size - c;
      float values[kNormLanes];
      float gate[kNormLanes];
      float slope[kNormLanes];  // not used here
      float gain[kNormLanes];
      load_lanes<kNormLanes>(args.x + row * args.size + c, left, args.is_aligned, values);
      load_gate(args.z, row * args.size + c, left, args.is_aligned, gate, slope);
      load_lanes<kNormLanes>(gain_of_group + c, left, args.is_aligned, gain);
#pragma unroll
      for (int lane = 0; lane < kNormLanes; ++lane) {
        values[lane] *= gate[lane];
        values[lane] *= rstd * gain[lane];
      }
      store_lanes<kNormLanes>(args.y + row * args.size + c, left, args.is_aligned, values);
    }
  }
}

template <typename T>
struct GatedBackward {
  const T* x;            // [rows, G, size]
  const T* z;            // [rows, G, size] or null
  const T* gain;         // [G, size]
  const float* rstd;     // [rows, G]
  const T* dy;           // [P, rows, G, size]
  T* dx;                 // [P, rows, G, size] or null
  T* dz;                 // [P, rows, G, size] or null
  float* dgain_partial;  // [gridDim.x, G, size] or null
  std::int64_t rows;
  std::int64_t groups;
  std::int64_t size;
  std::int64_t basis;
  bool is_aligned;
};

// With f = silu(z), q = dy * gain and m = mean(q * f * x * rstd), the same in both orders:
//   gate then norm, n = x * f * rstd:  dx = rstd * (q - n * m) * f,   dz = rstd * (q - n * m) * x
//   norm then gate, n = x * rstd:        dx = rstd * (q * f - n * m),   dz = q * n f'
// and dgain = sum dy * f * x * rstd over the block's rows, in registers until the end. A block has
// one group and strides over its rows. Traffic: x and z once, dy, dx and dz once each. The order of
// all sums depends on the launch alone.
template <typename T, GateOrder kOrder, int kChunks>
__global__ void __launch_bounds__(kMostNormThreads)
    gate_and_normalize_rows_backward(const GatedBackward<T> args) {
  constexpr bool kGatesFirst = kOrder == GateOrder::kGateThenNorm;
  __shared__ float warp_sums[kMostNormThreads / kWarpSize][1];
  __shared__ float shared[kMostNormThreads * kChunks * kNormLanes];
  const std::int64_t column = std::int64_t{blockIdx.y} * args.size;  // of the group
  const std::int64_t cols = args.groups * args.size;
  const float per_channel = 1.0F / static_cast<float>(args.size);
  float dgain[kChunks][kNormLanes] = {};
  // The same number of rounds for all threads of a block: they meet in row_sums.
  for (std::int64_t first = std::int64_t{blockIdx.x} * blockDim.y; first < args.rows;
       first += std::int64_t{gridDim.x} * blockDim.y) {
    const std::int64_t row = first + threadIdx.y;
    const bool is_row = row < args.rows;
    const std::int64_t size = is_row ? args.size : 0;
    const float rstd = is_row ? args.rstd[row * args.groups + blockIdx.y] : 0.0F;
    float n[kChunks][kNormLanes];
    float gate[kChunks][kNormLanes];   // f
    float slope[kChunks][kNormLanes];  // rstd * x * f'
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const std::int64_t c = first_channel(chunk);
      const std::int64_t at = row * cols + column + c;
      load_lanes<kNormLanes>(args.x + at, size - c, args.is_aligned, n[chunk]);
      load_gate(args.z, at, size - c, args.is_aligned, gate[chunk], slope[chunk]);
#pragma unroll
      for (int lane = 0; lane < kNormLanes; ++lane) {
        n[chunk][lane] *= rstd;
        slope[chunk][lane] *= n[chunk][lane];
        if constexpr (kGatesFirst) {
          n[chunk][lane] *= gate[chunk][lane];
        }
      }
    }
    for (std::int64_t p = 0; p < args.basis; ++p) {
      const std::int64_t begin = (p * args.rows + row) * cols + column;
      float q[kChunks][kNormLanes];  // and then q * f, where the gate comes last
      float sums[1] = {0};           // lanes past the group have dy = 0
#pragma unroll
      for (int chunk = 0; chunk < kChunks; ++chunk) {
        const std::int64_t c = first_channel(chunk);
        float gain[kNormLanes];
        load_lanes<kNormLanes>(args.dy + begin + c, size - c, args.is_aligned, q[chunk]);
        load_lanes<kNormLanes>(args.gain + column + c, size - c, args.is_aligned, gain);
        if (!kGatesFirst && args.dz != nullptr) {
          float dz[kNormLanes];
#pragma unroll
          for (int lane = 0; lane < kNormLanes; ++lane) {
            dz[lane] = q[chunk][lane] * gain[lane] * slope[chunk][lane];
          }
          store_lanes<kNormLanes>(args.dz + begin + c, size - c, args.is_aligned, dz);
        }
#pragma unroll
        for (int lane = 0; lane < kNormLanes; ++lane) {
          if constexpr (!kGatesFirst) {
            q[chunk][lane] *= gate[chunk][lane];
          }
          dgain[chunk][lane] += q[chunk][lane] * n[chunk][lane];
          q[chunk][lane] *= gain[lane];
          sums[0] += q[chunk][lane] * n[chunk][lane];
        }
      }
      if (args.dx == nullptr && (args.dz == nullptr || !kGatesFirst)) {
        continue;
      }
      row_sums(sums, warp_sums);
      const float mean = sums[0] * per_channel;
#pragma unroll
      for (int chunk = 0; chunk < kChunks; ++chunk) {
        const std::int64_t c = first_channel(chunk);
#pragma unroll
        for (int lane = 0; lane < kNormLanes; ++lane) {
          q[chunk][lane] -= n[chunk][lane] * mean;
        }
        float out[kNormLanes];
        if (kGatesFirst && args.dz != nullptr) {
#pragma unroll
          for (int lane = 0; lane < kNormLanes; ++lane) {
            out[lane] = q[chunk][lane] * slope[chunk][lane];
          }
          store_lanes<kNormLanes>(args.dz + begin + c, size - c, args.is_aligned, out);
        }
        if (args.dx != nullptr) {
#pragma unroll
          for (int lane = 0; lane < kNormLanes; ++lane) {
            out[lane] = rstd * q[chunk][lane] * (kGatesFirst ? gate[chunk][lane] : 1.0F);
          }
          store_lanes<kNormLanes>(args.dx + begin + c, size - c, args.is_aligned, out);
        }
      }
    }
  }
  if (args.dgain_partial != nullptr) {
    // write_part goes on by `size` for each block; parts lie `cols` apart.
    float* partial = args.dgain_partial + std::int64_t{blockIdx.x} * (cols - args.size) + column;
    write_part(dgain, shared, partial, args.size);
  }
}

// Calls `visit.operator()<kOrder>()`.
template <typename Visit>
void visit_order(GateOrder order, Visit&& visit) {
  switch (order) {
    case GateOrder::kGateThenNorm:
      return visit.template operator()<GateOrder::kGateThenNorm>();
    case GateOrder::kNormThenGate:
      return visit.template operator()<GateOrder::kNormThenGate>();
  }
}

template <typename T, typename Args>
GatedForward<T> forward_args(const Args& args, float eps) {
  const std::int64_t groups = args.rstd.dim(-1);
  const std::int64_t size = args.x.dim(-1) / groups;
  return {
      .x = elements<T>(args.x),
      .z = elements<T>(args.z),
      .gain = elements<T>(args.gain),
      .y = elements<T>(args.y),
      .rstd = elements<float>(args.rstd),
      .rows = args.rstd.numel(),
      .groups = groups,
      .size = size,
      .eps = eps,
      .is_aligned = size % kVectorLanes<T> == 0 &&
                    are_aligned(args.x.raw(), elements<T>(args.z), args.gain.raw(), args.y.raw())};
}

template <typename T, GateOrder kOrder>
void launch(const Tensor& x, const GatedBackward<T>& args, std::int64_t parts) {
  const auto run = [&](auto kernel, const dim3& block) {
    const auto threads = static_cast<int>(block.x * block.y);
    const std::int64_t rounds = (args.rows + block.y - 1) / block.y;
    const std::int64_t all = num_blocks(x.device(), rounds * args.groups * threads, threads);
    const std::int64_t blocks =
        parts > 0 ? parts : std::clamp<std::int64_t>(all / args.groups, 1, rounds);
    const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(args.groups));
    kernel<<<grid, block, 0, stream_of(x)>>>(args);
    check_launch("gate_and_normalize_rows_backward");
  };
  constexpr std::int64_t kNarrow = std::int64_t{kMostNormThreads} * kNormLanes;
  if (args.size <= kNarrow) {
    run(gate_and_normalize_rows_backward<T, kOrder, 1>, norm_block(args.size, 1, kMostNormThreads));
  } else {
    run(gate_and_normalize_rows_backward<T, kOrder, 2>, norm_block(args.size, 2, kMostNormThreads));
  }
}

void check_groups(const Tensor& x, const Tensor& rstd) {
  constexpr std::int64_t kMostGroups = 65535;
  check_norm_channels("gated_rms_norm", x.dim(-1) / rstd.dim(-1));
  GHOST_CHECK(rstd.dim(-1) <= kMostGroups,
              "gated_rms_norm: {} groups of a row; expected {} at most on a GPU", rstd.dim(-1),
              kMostGroups);
}

}  // namespace

void gated_rms_norm(const GatedRmsNormForward& args) {
  check_groups(args.x, args.rstd);
  visit_gpu_real(args.x.dtype(), "gated_rms_norm", [&]<typename T>() {
    const auto kernel_args = forward_args<T>(args, static_cast<float>(args.eps));
    const dim3 block = norm_block(kernel_args.size, kNormForwardChunks, 256);
    const auto blocks = static_cast<unsigned>((kernel_args.rows + block.y - 1) / block.y);
    visit_order(args.order, [&]<GateOrder kOrder>() {
      gate_and_normalize_rows<T, kOrder><<<blocks, block, 0, stream_of(args.x)>>>(kernel_args);
    });
  });
  check_launch("gate_and_normalize_rows");
}

void gated_rms_norm(const GatedRmsNormApply& args) {
  visit_gpu_real(args.x.dtype(), "gated_rms_norm", [&]<typename T>() {
    const auto kernel_args = forward_args<T>(args, /*eps=*/0);
    const auto per_row = static_cast<int>(norm_block(kernel_args.size, kNormForwardChunks, 1).x);
    const int threads = std::min(per_row, kMostNormThreads);
    const int blocks = num_blocks(args.x.device(), kernel_args.rows * threads, threads);
    apply_gated_norm_to_rows<T><<<blocks, threads, 0, stream_of(args.x)>>>(kernel_args);
  });
  check_launch("apply_gated_norm_to_rows");
}

void gated_rms_norm(const GatedRmsNormBackward& args) {
  check_groups(args.x, args.rstd);
  const std::int64_t groups = args.rstd.dim(-1);
  const std::int64_t size = args.x.dim(-1) / groups;
  visit_gpu_real(args.x.dtype(), "gated_rms_norm", [&]<typename T>() {
    const T* dx = elements<T>(args.dx);
    const T* dz = elements<T>(args.dz);
    const GatedBackward<T> kernel_args{
        .x = elements<T>(args.x),
        .z = elements<T>(args.z),
        .gain = elements<T>(args.gain),
        .rstd = elements<float>(args.rstd),
        .dy = elements<T>(args.dy),
        .dx = elements<T>(args.dx),
        .dz = elements<T>(args.dz),
        .dgain_partial = elements<float>(args.dgain_partial),
        .rows = args.rstd.numel() / groups,
        .groups = groups,
        .size = size,
        .basis = args.dy.dim(0),
        .is_aligned =
            size % kVectorLanes<T> == 0 &&
            are_aligned(args.x.raw(), elements<T>(args.z), args.gain.raw(), args.dy.raw(), dx, dz)};
    visit_order(args.order, [&]<GateOrder kOrder>() {
      launch<T, kOrder>(args.x, kernel_args, args.dgain.defined() ? args.dgain_partial.dim(0) : 0);
    });
  });
  if (args.dgain.defined()) {
    add_parts(args.dgain_partial, args.dgain, args.accumulate_dgain);
  }
}

}  // namespace ghost::cuda
