#include "engine/device/cuda/dtype.cuh"
#include "engine/device/cuda/stream.h"
#include "ops/cuda/common/grid_stride.cuh"
#include "ops/cuda/gemm.h"
#include "ops/suffix_products_kernels.h"

namespace ghost::cuda {
namespace {

template <typename T>
__global__ void __launch_bounds__(kThreads)
    write_identity_matrices(T* __restrict__ matrices, std::int64_t n, std::int64_t rank) {
  for (std::int64_t i = first_index(); i < n; i += index_stride()) {
    matrices[i] = from_float<T>(i / rank % rank == i % rank ? 1.0F : 0.0F);
  }
}

/// Matrices of `columns` columns, one behind the other.
Matrix batch_of(const Tensor& x, std::int64_t rows, std::int64_t columns,
                Transpose transpose = Transpose::kNo) {
  return {.data = x.raw(),
          .dtype = x.dtype(),
          .stride = columns,
          .transpose = transpose,
          .batch_stride = rows * columns};
}

}  // namespace

void matrix_products(const MatrixProducts& args) {
  const std::int64_t batch = args.a.dim(0);
  const std::int64_t rank = args.a.dim(-1);
  const std::int64_t columns = args.b.numel() / (batch * rank);
  if (columns == 1) {  // as rows, b^T a^T: columns of one number would lie one apart
    gemm(args.c.device(), {.m = 1,
                           .n = rank,
                           .k = rank,
                           .a = batch_of(args.b, 1, rank),
                           .b = batch_of(args.a, rank, rank, Transpose::kYes),
                           .c = batch_of(args.c, 1, rank),
                           .batch = batch});
    return;
  }
  gemm(args.c.device(), {.m = rank,
                         .n = columns,
                         .k = rank,
                         .a = batch_of(args.a, rank, rank),
                         .b = batch_of(args.b, rank, columns),
                         .c = batch_of(args.c, rank, columns),
                         .batch = batch});
}

void identity_matrices(const Tensor& matrices) {
  const std::int64_t n = matrices.numel();
  visit_gpu_real(matrices.dtype(), "suffix_products", [&]<typename T>() {
    write_identity_matrices<T><<<blocks_for(matrices, n), kThreads, 0, stream_of(matrices)>>>(
        elements<T>(matrices), n, matrices.dim(-1));
  });
  check_launch("write_identity_matrices");
}

}  // namespace ghost::cuda
