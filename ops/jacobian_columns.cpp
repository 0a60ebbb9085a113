#include "ops/jacobian_columns.h"

#include "ops/jacobian_columns_kernels.h"

namespace ghost {
namespace {

// The only lines of these functions that know there is more than one backend.
template <typename Args>
void launch(const Context& ctx, const Args& args) {
  dispatch(
      ctx, [&] { cpu::jacobian_columns(args); }, [&] { cuda::jacobian_columns(args); });
}

}  // namespace

Tensor basis_cotangents(const Context& ctx, const Shape& shape, DType dtype, std::int64_t first,
                        std::int64_t count) {
  const Tensor y = ctx.empty(shape.with_first(count), dtype);
  launch(ctx, BasisCotangents{.y = y.reshape({count, shape[0], shape.numel() / shape[0]}),
                              .first = first});
  return y;
}

void write_columns(const Context& ctx, const Tensor& rows, std::int64_t first,
                   const Tensor& matrices) {
  const std::int64_t batch = matrices.dim(0);
  const std::int64_t width = matrices.dim(1);
  const std::int64_t count = rows.dim(0);
  GHOST_CHECK(matrices.shape() == Shape({batch, width, width}) &&
                  rows.numel() == count * batch * width && first >= 0 && first + count <= width &&
                  rows.dtype() == matrices.dtype(),
              "shape mismatch in write_columns: rows {} of {} to column {} of matrices {} of {}; "
              "expected [P,B,N] into [B,N,N]",
              rows.shape(), dtype_name(rows.dtype()), first, matrices.shape(),
              dtype_name(matrices.dtype()));
  launch(ctx,
         WriteColumns{
             .rows = rows.reshape({count, batch, width}), .first = first, .matrices = matrices});
}

}  // namespace ghost
