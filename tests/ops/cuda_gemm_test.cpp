#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "ops/cuda/gemm.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

Tensor on_device(const Tensor& x, DType dtype, const Device& device) {
  Tensor converted(test::shared_allocator(Device{}), x.shape(), dtype, MemoryTag::kWorkspace);
  cast(converted, x);
  return to_device(converted, test::shared_allocator(device), MemoryTag::kWorkspace);
}

void check_batch(const Device& device, DType operands, DType result, double tolerance) {
  constexpr std::int64_t kBatch = 3;
  constexpr std::int64_t kM = 19;
  constexpr std::int64_t kN = 24;
  constexpr std::int64_t kK = 40;
  INFO(dtype_name(operands) << " into " << dtype_name(result));
  const Tensor a = test::normal({kBatch, kK, kM}, 1);  // transposed
  const Tensor b = test::normal({kBatch, kK, kN}, 2);
  const Tensor c = test::normal({kBatch, kM, kN}, 3);
  const Tensor a_there = on_device(a, operands, device);
  const Tensor b_there = on_device(b, operands, device);
  const Tensor c_there = on_device(c, result, device);
  cuda::Gemm args{.m = kM,
                  .n = kN,
                  .k = kK,
                  .a = cuda::matrix_of(a_there, cuda::Transpose::kYes),
                  .b = cuda::matrix_of(b_there),
                  .c = cuda::matrix_of(c_there),
                  .alpha = 0.5F,
                  .beta = 2.0F,
                  .batch = kBatch};
  args.a.batch_stride = kK * kM;
  args.b.batch_stride = kK * kN;
  args.c.batch_stride = kM * kN;
  cuda::gemm(device, args);
  for (std::int64_t batch = 0; batch < kBatch; ++batch) {
    const double* x = a.data<double>() + batch * kK * kM;
    const double* y = b.data<double>() + batch * kK * kN;
    double* z = c.data<double>() + batch * kM * kN;
    for (std::int64_t i = 0; i < kM; ++i) {
      for (std::int64_t j = 0; j < kN; ++j) {
        double sum = 0;
        for (std::int64_t k = 0; k < kK; ++k) {
          sum += x[k * kM + i] * y[k * kN + j];
        }
        z[i * kN + j] = 0.5 * sum + 2 * z[i * kN + j];
      }
    }
  }
  CHECK(test::relative_difference(c_there, c) <= tolerance);
}

// One matrix, all transposes and one bias are in the tests of linear.
TEST_CASE("gemm on a GPU runs batches and adds to what is there", "[ops][cuda]") {
  if constexpr (kHasCuda) {
    for (const Device& device : test::cuda_devices()) {
      check_batch(device, DType::kF32, DType::kF32, 1e-5);  // TF32 would be near 1e-3
      check_batch(device, DType::kBF16, DType::kF32, 2e-2);
      check_batch(device, DType::kBF16, DType::kBF16, 3e-2);
    }
  } else {
    test::cuda_devices();  // says that this is skipped
  }
}

}  // namespace
}  // namespace ghost
