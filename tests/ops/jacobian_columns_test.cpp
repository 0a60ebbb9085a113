#include "ops/jacobian_columns.h"

#include <algorithm>

#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;
using test::values_of;

TEST_CASE("basis cotangents are those of every sample", "[ops]") {
  Context ctx(Device{});
  const Tensor basis = basis_cotangents(ctx, {2, 1, 3}, DType::kF64, /*first=*/1, /*count=*/2);
  CHECK(basis.shape() == Shape{2, 2, 1, 3});
  CHECK(values_of(basis) == std::vector<double>{0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1});
}

TEST_CASE("rows become columns of the sample's matrix", "[ops]") {
  Context ctx(Device{});
  const Tensor matrices = ctx.zeros({2, 2, 2}, DType::kF64);
  write_columns(ctx, test::tensor_of({1, 2, 2}, {1, 2, 3, 4}), /*first=*/1, matrices);
  CHECK(values_of(matrices) == std::vector<double>{0, 1, 0, 2, 0, 3, 0, 4});
  write_columns(ctx, test::tensor_of({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}), /*first=*/0, matrices);
  CHECK(values_of(matrices) == std::vector<double>{1, 5, 2, 6, 3, 7, 4, 8});
}

TEST_CASE("columns on a GPU equal the CPU's", "[ops][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      INFO("on " << device.name() << " in " << dtype_name(dtype));
      Context cpu(Device{});
      Context ctx(test::shared_allocator(device));
      const Shape shape{3, 2, 17};
      const Tensor matrices = ctx.empty({3, 34, 34}, dtype);
      const Tensor expected = cpu.empty({3, 34, 34}, DType::kF32);
      for (std::int64_t first = 0; first < 34; first += 10) {
        const std::int64_t count = std::min<std::int64_t>(10, 34 - first);
        const Tensor basis = basis_cotangents(ctx, shape, dtype, first, count);
        const Tensor basis_cpu = basis_cotangents(cpu, shape, DType::kF32, first, count);
        CHECK(values_of(basis) == values_of(basis_cpu));
        write_columns(ctx, basis, first, matrices);
        write_columns(cpu, basis_cpu, first, expected);
      }
      CHECK(values_of(matrices) == values_of(expected));
    }
  }
}

TEST_CASE("columns that do not fit are refused", "[ops]") {
  Context ctx(Device{});
  CHECK_THROWS_WITH(write_columns(ctx, normal({2, 3, 4}, 1), 3, ctx.zeros({3, 4, 4}, DType::kF64)),
                    "shape mismatch in write_columns: rows [2,3,4] of f64 to column 3 of matrices "
                    "[3,4,4] of f64; expected [P,B,N] into [B,N,N]");
}

}  // namespace
}  // namespace ghost
