#include "ops/suffix_products.h"

#include "tests/support/catch.h"
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
