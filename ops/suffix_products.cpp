#include "ops/suffix_products.h"

#include "engine/tensor/primitives.h"
#include "ops/suffix_products_kernels.h"

namespace ghost {
namespace {

// The only lines of these functions that know there is more than one backend.
void launch(const Context& ctx, const MatrixProducts& args) {
  dispatch(
      ctx, [&] { cpu::matrix_products(args); }, [&] { cuda::matrix_products(args); });
}

/// Matrices [begin, end) of [n, B, r, r], as [(end - begin) B, r, r].
Tensor flat(const Tensor& x, std::int64_t begin, std::int64_t end) {
  return x.slice(begin, end).reshape({(end - begin) * x.dim(1), x.dim(2), x.dim(3)});
}

void multiply(const Context& ctx, const Tensor& a, const Tensor& b, const Tensor& c) {
  launch(ctx, {.a = a, .b = b, .c = c});
}

void write_identities(const Context& ctx, const Tensor& matrices) {
  dispatch(
      ctx, [&] { cpu::identity_matrices(matrices); }, [&] { cuda::identity_matrices(matrices); });
}

// out[k] = in[k] in[k + 1] ... in[n - 1]
void chain(const Context& ctx, const Tensor& in, const Tensor& out) {
  const std::int64_t n = in.dim(0);
  for (std::int64_t k = n; k-- > 0;) {
    multiply(ctx, flat(in, k, k + 1), flat(out, k + 1, k + 2), flat(out, k, k + 1));
  }
}

// Two buffers in turn: all of a round's reads come before its writes.
void scan(const Context& ctx, const Tensor& in, const Tensor& out) {
  const std::int64_t n = in.dim(0);
  Tensor from = ctx.empty(in.shape(), in.dtype());
  Tensor to = ctx.empty(in.shape(), in.dtype());
  copy(from, in);
  for (std::int64_t offset = 1; offset < n; offset *= 2) {
    multiply(ctx, flat(from, 0, n - offset), flat(from, offset, n), flat(to, 0, n - offset));
    copy(to.slice(n - offset, n), from.slice(n - offset, n));
    std::swap(from, to);
  }
  copy(out.slice(0, n), from);
}

}  // namespace

Tensor suffix_products(Context& ctx, const Tensor& matrices, SuffixMethod method) {
  const Shape& shape = matrices.shape();
  GHOST_CHECK(shape.rank() == 4 && shape[0] > 0 && shape[2] == shape[3],
              "suffix_products: matrices are {}; expected [n,B,r,r] with n > 0", shape);
  const Tensor out = ctx.empty({shape[0] + 1, shape[1], shape[2], shape[3]}, matrices.dtype());
  write_identities(ctx, out.slice(shape[0], shape[0] + 1));
  switch (method) {
    case SuffixMethod::kChain:
      chain(ctx, matrices, out);
      break;
    case SuffixMethod::kScan:
      scan(ctx, matrices, out);
      break;
  }
  return out;
}

Tensor apply_matrices(Context& ctx, const Tensor& matrices, const Tensor& x) {
  const Shape& shape = matrices.shape();
  GHOST_CHECK(shape.rank() == 4 && shape[2] == shape[3] && x.numel() == shape[1] * shape[2],
              "shape mismatch in apply_matrices: matrices {} against x {}; expected [n,B,r,r] and "
              "r numbers for each of B",
              shape, x.shape());
  const Tensor y = ctx.empty({shape[0], shape[1], shape[2]}, matrices.dtype());
  for (std::int64_t k = 0; k < shape[0]; ++k) {
    multiply(ctx, flat(matrices, k, k + 1), x.reshape({shape[1], shape[2]}),
             y.slice(k, k + 1).reshape({shape[1], shape[2]}));
  }
  return y;
}

}  // namespace ghost
