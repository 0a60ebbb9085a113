#include "engine/autograd/residual_codec_kernels.h"
#include "engine/device/cuda/reduce.cuh"
#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "engine/random/cuda/philox.cuh"

namespace ghost::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kEight = 8;  // elements a thread takes at a time: those of one Philox counter

/// Where the factor of an element comes from.
enum class Scaling {
  kNone,         // derivatives: the same for all
  kInRegisters,  // a group is 8, 16, ... or 256 elements: neighbouring threads of one warp hold it
  kInMemory,     // the scales hold the largest magnitude of each group, from a kernel before
};

struct Encoding {
  CodeGrid grid;
  PhiloxStream stream;
  std::int64_t n;
  std::int64_t group;
  float* scales;         // null without
  std::uint8_t* values;  // codes of one byte, or two a byte
  bool is_aligned;       // x may be read 16 bytes at a time
};

__device__ std::uint32_t magnitude_bits(float x) { return __float_as_uint(x) & 0x7fffffffU; }

/// Scale of a group, and steps per unit: as scale_group on the CPU.
__device__ float scale_of(float largest, float highest, float* factor) {
  const bool is_finite = __float_as_uint(largest) < 0x7f800000U;
  if (!is_finite || largest < kSmallestScaled) {
    *factor = 0;
    return is_finite ? 0.0F : __uint_as_float(0x7fc00000U);
  }
  *factor = __fdiv_rn(highest, largest);
  return __fdiv_rn(largest, highest);
}

// As `quantise` on the CPU, operation by operation: nothing may be contracted into a fused
// multiply-add, which would round once less and give other codes.
__device__ int code_of(float x, float factor, const CodeGrid& grid, std::uint32_t draw) {
  const float u = __fmul_rn(__fadd_rn(static_cast<float>(draw), 0.5F), 0x1p-16F);
  const float v = __fmul_rn(x, factor);
  const float whole = floorf(v);
  const float code = __fadd_rn(whole, floorf(__fadd_rn(__fsub_rn(v, whole), u)));
  return static_cast<int>(fminf(grid.highest, fmaxf(grid.lowest, code)));
}

// Bytes [at, ...) of the codes of eight elements, `left` of which exist (the rest are zero).
template <bool kPacked>
__device__ void store_codes(std::uint8_t* values, std::int64_t at, std::int64_t left,
                            const int (&codes)[kEight]) {
  if constexpr (kPacked) {
    std::uint32_t word = 0;
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      word |= static_cast<std::uint32_t>(codes[i] & 15) << (4 * i);
    }
    std::uint8_t* to = values + at / 2;
    if (left >= kEight) {
      *reinterpret_cast<std::uint32_t*>(to) = word;
    } else {
      for (int i = 0; 2 * i < left; ++i) {
        to[i] = static_cast<std::uint8_t>(word >> (8 * i));
      }
    }
  } else {
    std::uint32_t words[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      words[i / 4] |= static_cast<std::uint32_t>(codes[i] & 255) << (8 * (i % 4));
    }
    std::uint8_t* to = values + at;
    if (left >= kEight) {
      *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
    } else {
      for (int i = 0; i < left; ++i) {
        to[i] = static_cast<std::uint8_t>(words[i / 4] >> (8 * (i % 4)));
      }
    }
  }
}

// Eight elements a thread: one read of x, one Philox counter, one write of the codes. The loop has
// as many turns for every thread of a block, as kInRegisters exchanges magnitudes within warps.
template <Scaling kScaling, bool kPacked, typename T>
__global__ void __launch_bounds__(kThreads) encode_eights(const T* __restrict__ x, Encoding to) {
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads * kEight;
  for (std::int64_t begin = std::int64_t{blockIdx.x} * kThreads * kEight; begin < to.n;
       begin += stride) {
    const std::int64_t at = begin + std::int64_t{threadIdx.x} * kEight;
    const std::int64_t left = to.n - at;  // not positive past the end
    float values[kEight];
    load_lanes<kEight>(x + at, left, to.is_aligned, values);

    float factor = to.grid.steps_per_one;
    if constexpr (kScaling == Scaling::kInRegisters) {
      std::uint32_t largest = 0;
#pragma unroll
      for (int i = 0; i < kEight; ++i) {
        largest = max(largest, magnitude_bits(values[i]));
      }
      for (int offset = static_cast<int>(to.group) / (2 * kEight); offset > 0; offset /= 2) {
        largest = max(largest, __shfl_xor_sync(kFullWarp, largest, offset));
      }
      const float scale = scale_of(__uint_as_float(largest), to.grid.highest, &factor);
      if (left > 0 && at % to.group == 0) {
        to.scales[at / to.group] = scale;
      }
    }
    if (left <= 0) {
      continue;
    }

    const uint4 words = philox_words(to.stream, static_cast<std::uint32_t>(at / kEight));
    const std::uint32_t draws[4] = {words.x, words.y, words.z, words.w};
    const int first_code = kScaling == Scaling::kNone ? -static_cast<int>(to.grid.lowest) : 0;
    std::int64_t group = kScaling == Scaling::kInMemory ? at / to.group : 0;
    std::int64_t group_end = (group + 1) * to.group;
    if constexpr (kScaling == Scaling::kInMemory) {
      scale_of(to.scales[group], to.grid.highest, &factor);
    }
    int codes[kEight];
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      codes[i] = 0;
      if (i >= left) {
        continue;
      }
      if constexpr (kScaling == Scaling::kInMemory) {
        if (at + i == group_end) {
          ++group;
          group_end += to.group;
          scale_of(to.scales[group], to.grid.highest, &factor);
        }
      }
      if (factor != 0) {
        const std::uint32_t draw = (draws[i / 2] >> (16 * (i % 2))) & 0xffffU;
        codes[i] = code_of(values[i], factor, to.grid, draw) + first_code;
      }
    }
    store_codes<kPacked>(to.values, at, left, codes);
  }
}

// One warp a group. Magnitudes are compared as their bits, infinities and NaN above all.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    find_largest(const T* __restrict__ x, std::int64_t n, std::int64_t group,
                 std::int64_t num_groups, float* __restrict__ largest_of_group) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const std::int64_t num_warps = std::int64_t{gridDim.x} * (kThreads / kWarpSize);
  std::int64_t index = std::int64_t{blockIdx.x} * (kThreads / kWarpSize) + threadIdx.x / kWarpSize;
  for (; index < num_groups; index += num_warps) {
    const std::int64_t end = min(n, (index + 1) * group);
    std::uint32_t largest = 0;
    for (std::int64_t i = index * group + lane; i < end; i += kWarpSize) {
      largest = max(largest, magnitude_bits(to_float(x[i])));
    }
    largest = __reduce_max_sync(kFullWarp, largest);
    if (lane == 0) {
      largest_of_group[index] = __uint_as_float(largest);
    }
  }
}

// Largest magnitudes become scales.
__global__ void __launch_bounds__(kThreads)
    finish_scales(float* scales, std::int64_t num_groups, float highest) {
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < num_groups;
       i += stride) {
    float factor;
    scales[i] = scale_of(scales[i], highest, &factor);
  }
}

struct Decoding {
  CodeGrid grid;
  std::int64_t n;
  std::int64_t group;
  const float* scales;  // null without
  const std::uint8_t* values;
};

// Eight elements a thread, as in encode_eights.
template <bool kScaled, bool kPacked, typename T>
__global__ void __launch_bounds__(kThreads) decode_eights(Decoding from, T* __restrict__ out) {
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads * kEight;
  for (std::int64_t at = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kEight; at < from.n;
       at += stride) {
    const std::int64_t left = from.n - at;
    std::int64_t group = kScaled ? at / from.group : 0;
    std::int64_t group_end = (group + 1) * from.group;
    float scale = kScaled ? from.scales[group] : 0.0F;
    float values[kEight];
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      values[i] = 0;
      if (i >= left) {
        continue;
      }
      int code;
      if constexpr (kPacked) {
        const int half = (from.values[(at + i) / 2] >> (4 * (i % 2))) & 15;
        code = kScaled && half > 7 ? half - 16 : half;  // two's complement in 4 bits
      } else {
        const int byte = from.values[at + i];
        code = kScaled && byte > 127 ? byte - 256 : byte;
      }
      if constexpr (kScaled) {
        if (at + i == group_end) {
          ++group;
          group_end += from.group;
          scale = from.scales[group];
        }
        values[i] = __fmul_rn(scale, static_cast<float>(code));
      } else {
        values[i] = __fdiv_rn(__fadd_rn(static_cast<float>(code), from.grid.lowest),
                              from.grid.steps_per_one);
      }
    }
    store_lanes<kEight>(out + at, left, /*is_aligned=*/true, values);
  }
}

bool fits_in_a_warp(std::int64_t group) {
  return group >= kEight && group <= kEight * kWarpSize && (group & (group - 1)) == 0;
}

template <Scaling kScaling, typename T>
void launch_encode(const T* x, const Encoding& to, const Device& device, bool packed) {
  const int blocks = num_blocks(device, to.n, kThreads, kEight);
  if (packed) {
    encode_eights<kScaling, true><<<blocks, kThreads, 0, stream_of(device)>>>(x, to);
  } else {
    encode_eights<kScaling, false><<<blocks, kThreads, 0, stream_of(device)>>>(x, to);
  }
  check_launch("encode_residual");
}

}  // namespace

void encode_residual(const Tensor& x, const RandomStream& stream, const EncodedResidual& out) {
  const Device& device = x.device();
  visit_gpu_real(x.dtype(), "encode_residual", [&]<typename T>() {
    const T* elements_of_x = elements<T>(x);
    const Encoding to{.grid = grid_of(out.keep),
                      .stream = philox_stream(stream),
                      .n = x.numel(),
                      .group = out.group,
                      .scales = elements<float>(out.scales),
                      .values = reinterpret_cast<std::uint8_t*>(out.values.raw()),
                      .is_aligned = are_aligned(elements_of_x)};
    if (to.scales == nullptr) {
      launch_encode<Scaling::kNone>(elements_of_x, to, device, is_packed(out.keep));
      return;
    }
    if (fits_in_a_warp(to.group)) {
      launch_encode<Scaling::kInRegisters>(elements_of_x, to, device, is_packed(out.keep));
      return;
    }
    const std::int64_t num_groups = out.scales.numel();
    const cudaStream_t cuda_stream = stream_of(device);
    find_largest<<<num_blocks(device, num_groups * kWarpSize, kThreads), kThreads, 0,
                   cuda_stream>>>(elements_of_x, to.n, to.group, num_groups, to.scales);
    check_launch("find_largest");
    launch_encode<Scaling::kInMemory>(elements_of_x, to, device, is_packed(out.keep));
    finish_scales<<<num_blocks(device, num_groups, kThreads), kThreads, 0, cuda_stream>>>(
        to.scales, num_groups, to.grid.highest);
    check_launch("finish_scales");
  });
}

void decode_residual(const EncodedResidual& encoded, const Tensor& out) {
  const Decoding from{.grid = grid_of(encoded.keep),
                      .n = out.numel(),
                      .group = encoded.group,
                      .scales = elements<float>(encoded.scales),
                      .values = reinterpret_cast<const std::uint8_t*>(encoded.values.raw())};
  const int blocks = num_blocks(out.device(), from.n, kThreads, kEight);
  const cudaStream_t stream = stream_of(out);
  visit_gpu_real(out.dtype(), "decode_residual", [&]<typename T>() {
    T* to = elements<T>(out);
    const bool packed = is_packed(encoded.keep);
    if (from.scales != nullptr && packed) {
      decode_eights<true, true><<<blocks, kThreads, 0, stream>>>(from, to);
    } else if (from.scales != nullptr) {
      decode_eights<true, false><<<blocks, kThreads, 0, stream>>>(from, to);
    } else if (packed) {
      decode_eights<false, true><<<blocks, kThreads, 0, stream>>>(from, to);
    } else {
      decode_eights<false, false><<<blocks, kThreads, 0, stream>>>(from, to);
    }
  });
  check_launch("decode_residual");
}

}  // namespace ghost::cuda
