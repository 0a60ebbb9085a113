#include "ops/suffix_products.h"

#include <cmath>

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::normal;
using test::relative_difference;
using test::tensor_of;
using test::values_of;

constexpr SuffixMethod kMethods[] = {SuffixMethod::kChain, SuffixMethod::kScan};

// Integers, so that the wrong order, P_1 P_0 = [2 8; 1 3], cannot hide in a tolerance.
TEST_CASE("suffix products keep the lower index on the left", "[ops]") {
  Context ctx(Device{});
  const Tensor matrices = tensor_of({2, 1, 2, 2}, {1, 3, 0, 2, 2, 1, 1, 0});
  for (const SuffixMethod method : kMethods) {
    INFO(enum_name(method));
    const Tensor suffixes = suffix_products(ctx, matrices, method);
    CHECK(values_of(suffixes) == std::vector<double>{5, 1, 2, 0, 2, 1, 1, 0, 1, 0, 0, 1});
    const Tensor adjoints = apply_matrices(ctx, suffixes, tensor_of({1, 2}, {1, -1}));
    CHECK(values_of(adjoints) == std::vector<double>{4, 2, 1, 1, 1, -1});
  }
}

TEST_CASE("a scan of any length equals the chain", "[ops]") {
  Context ctx(Device{});
  for (const std::int64_t n : {1, 2, 3, 4, 5, 7, 8, 9, 33}) {
    INFO(n);
    const Tensor matrices = normal({n, 3, 5, 5}, static_cast<std::uint64_t>(n));
    const Tensor chain = suffix_products(ctx, matrices, SuffixMethod::kChain);
    CHECK(relative_difference(suffix_products(ctx, matrices, SuffixMethod::kScan), chain) < 1e-12);
    CHECK(values_of(chain.slice(n - 1, n)) == values_of(matrices.slice(n - 1, n)));
  }
}

// bf16: products of up to 9 matrices, each rounded.
TEST_CASE("suffix products on a GPU equal the CPU's", "[ops][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    for (const std::int64_t rank : {2, 16, 33}) {
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        INFO("rank " << rank << " on " << device.name() << " in " << dtype_name(dtype));
        Context cpu(Device{});
        const Tensor exact = normal({9, 3, rank, rank}, 1);
        const Tensor matrices = cpu.empty(exact.shape(), dtype);
        scale(exact, 1 / std::sqrt(static_cast<double>(rank)));
        cast(matrices, exact);
        cast(exact, matrices);  // as rounded
        const Tensor vectors = cpu.empty({3, rank}, dtype);
        cast(vectors, normal({3, rank}, 2));
        Context ctx(test::shared_allocator(device));
        const auto on_device = [&](const Tensor& x) {
          return to_device(x, ctx.allocator(), MemoryTag::kWorkspace);
        };
        const double tolerance = dtype == DType::kF32 ? 1e-4 : 6e-2;
        for (const SuffixMethod method : kMethods) {
          const Tensor expected = suffix_products(cpu, exact, method);
          const Tensor suffixes = suffix_products(ctx, on_device(matrices), method);
          CHECK(relative_difference(suffixes, expected) < tolerance);
          const Tensor x = cpu.empty(vectors.shape(), DType::kF64);
          cast(x, vectors);
          CHECK(relative_difference(apply_matrices(ctx, suffixes, on_device(vectors)),
                                    apply_matrices(cpu, expected, x)) < tolerance);
        }
      }
    }
  }
}

TEST_CASE("suffix products of matrices that are none are refused", "[ops]") {
  Context ctx(Device{});
  CHECK_THROWS_WITH(suffix_products(ctx, normal({2, 3, 4}, 1), SuffixMethod::kChain),
                    "suffix_products: matrices are [2,3,4]; expected [n,B,r,r] with n > 0");
  CHECK_THROWS_WITH(apply_matrices(ctx, normal({2, 3, 4, 4}, 1), normal({3, 5}, 1)),
                    "shape mismatch in apply_matrices: matrices [2,3,4,4] against x [3,5]; "
                    "expected [n,B,r,r] and r numbers for each of B");
}

}  // namespace
}  // namespace ghost
