#include <algorithm>
#include <bit>
#include <cstdint>

#include "engine/device/cuda/stream.h"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/split_kernels.h"

namespace ghost::cuda {
namespace {

/// Columns of a matrix, in bytes.
struct Columns {
  std::byte* data;
  std::int64_t stride;  // from row to row
};

// Threads x go over the units of a row, threads y and blocks over rows. Traffic: read and written
// once. Strides and width in units.
template <typename Unit>
__global__ void __launch_bounds__(kThreads)
    copy_columns(const Unit* __restrict__ from, std::int64_t from_stride, Unit* __restrict__ to,
                 std::int64_t to_stride, std::int64_t rows, std::int64_t width) {
  for (std::int64_t row = std::int64_t{blockIdx.x} * blockDim.y + threadIdx.y; row < rows;
       row += std::int64_t{gridDim.x} * blockDim.y) {
    for (std::int64_t i = threadIdx.x; i < width; i += blockDim.x) {
      to[row * to_stride + i] = from[row * from_stride + i];
    }
  }
}

template <typename Unit>
void copy(const Device& device, const Columns& from, const Columns& to, std::int64_t rows,
          std::int64_t width) {
  constexpr std::int64_t kBytes = sizeof(Unit);
  const std::int64_t units = width / kBytes;
  const auto across = static_cast<unsigned>(
      std::bit_ceil(static_cast<std::uint64_t>(std::min<std::int64_t>(units, kThreads))));
  const dim3 block(across, kThreads / across);
  const int blocks = num_blocks(device, rows * across, kThreads);
  copy_columns<Unit><<<blocks, block, 0, stream_of(device)>>>(
      reinterpret_cast<const Unit*>(from.data), from.stride / kBytes,
      reinterpret_cast<Unit*>(to.data), to.stride / kBytes, rows, units);
  check_launch("copy_columns");
}

// In the widest units that addresses, strides and width are multiples of, 16 bytes at most.
void copy_widest(const Device& device, const Columns& from, const Columns& to, std::int64_t rows,
                 std::int64_t width) {
  const std::uint64_t all = reinterpret_cast<std::uintptr_t>(from.data) |
                            reinterpret_cast<std::uintptr_t>(to.data) |
                            static_cast<std::uint64_t>(from.stride | to.stride | width);
  if (all % 16 == 0) {
    copy<uint4>(device, from, to, rows, width);
  } else if (all % 8 == 0) {
    copy<uint2>(device, from, to, rows, width);
  } else if (all % 4 == 0) {
    copy<std::uint32_t>(device, from, to, rows, width);
  } else {
    copy<std::uint16_t>(device, from, to, rows, width);
  }
}

/// Calls `visit(part, columns of x, rows, bytes of a row of the part)`.
template <typename Visit>
void for_each_part(const Tensor& x, const Tensors& parts, Visit&& visit) {
  const std::int64_t size = itemsize(x.dtype());
  const std::int64_t stride = x.dim(-1) * size;
  const std::int64_t rows = x.numel() / x.dim(-1);
  std::int64_t offset = 0;
  for (const Tensor& part : parts) {
    const std::int64_t width = part.dim(-1) * size;
    visit(Columns{part.raw(), width}, Columns{x.raw() + offset, stride}, rows, width);
    offset += width;
  }
}

}  // namespace

void split(const Split& args) {
  for_each_part(args.x, args.parts,
                [&](const Columns& part, const Columns& x, std::int64_t rows, std::int64_t width) {
                  copy_widest(args.x.device(), x, part, rows, width);
                });
}

void split(const Join& args) {
  for_each_part(args.x, args.parts,
                [&](const Columns& part, const Columns& x, std::int64_t rows, std::int64_t width) {
                  copy_widest(args.x.device(), part, x, rows, width);
                });
}

}  // namespace ghost::cuda
