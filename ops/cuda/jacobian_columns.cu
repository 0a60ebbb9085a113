#include "engine/device/cuda/dtype.cuh"
#include "engine/device/cuda/stream.h"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/jacobian_columns_kernels.h"

namespace ghost::cuda {
namespace {

template <typename T>
__global__ void __launch_bounds__(kThreads)
    write_basis(T* __restrict__ y, std::int64_t n, std::int64_t batch, std::int64_t width,
                std::int64_t first) {
  for (std::int64_t i = first_index(); i < n; i += index_stride()) {
    y[i] = from_float<T>(i % width == first + i / width / batch ? 1.0F : 0.0F);
  }
}

// Neighbouring threads write neighbouring columns; what they read lies far apart, and is little.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    write_matrix_columns(const T* __restrict__ rows, T* __restrict__ matrices, std::int64_t count,
                         std::int64_t batch, std::int64_t width, std::int64_t first) {
  const std::int64_t lines = batch * width;  // of all matrices
  for (std::int64_t i = first_index(); i < lines * count; i += index_stride()) {
    const std::int64_t line = i / count;
    const std::int64_t p = i % count;
    matrices[line * width + first + p] = rows[p * lines + line];
  }
}

}  // namespace

void jacobian_columns(const BasisCotangents& args) {
  const std::int64_t n = args.y.numel();
  visit_gpu_real(args.y.dtype(), "basis_cotangents", [&]<typename T>() {
    write_basis<T><<<blocks_for(args.y, n), kThreads, 0, stream_of(args.y)>>>(
        elements<T>(args.y), n, args.y.dim(1), args.y.dim(2), args.first);
  });
  check_launch("write_basis");
}

void jacobian_columns(const WriteColumns& args) {
  visit_gpu_real(args.rows.dtype(), "write_columns", [&]<typename T>() {
    write_matrix_columns<T>
        <<<blocks_for(args.rows, args.rows.numel()), kThreads, 0, stream_of(args.rows)>>>(
            elements<T>(args.rows), elements<T>(args.matrices), args.rows.dim(0),
            args.matrices.dim(0), args.matrices.dim(1), args.first);
  });
  check_launch("write_matrix_columns");
}

}  // namespace ghost::cuda
