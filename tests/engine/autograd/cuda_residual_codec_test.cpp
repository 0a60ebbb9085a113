#include <algorithm>
#include <limits>

#include "engine/autograd/residual_codec.h"
#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

constexpr RandomStream kStream{
    .seed = 0x123456789abcdefU, .step = 77, .site = 3, .purpose = Purpose::kRounding};

bool has_same_bytes(const Tensor& a, const Tensor& b) {
  if (!a.defined() || !b.defined()) {
    return a.defined() == b.defined();
  }
  const Tensor x = on_host(a);
  const Tensor y = on_host(b);
  return x.bytes() == y.bytes() && std::equal(x.raw(), x.raw() + x.bytes(), y.raw());
}

/// Normal numbers, a run of zeros, and where `with_nonfinite` an infinity and a NaN.
Tensor make_input(std::int64_t size, bool with_nonfinite) {
  const Tensor exact = test::normal({size}, 9);
  double* x = exact.data<double>();
  std::fill_n(x + size / 2, size / 8, 0.0);
  if (with_nonfinite) {
    x[0] = std::numeric_limits<double>::infinity();
    x[size - 1] = std::numeric_limits<double>::quiet_NaN();
  }
  Tensor out(exact.storage()->shared_allocator(), {size}, DType::kF32, MemoryTag::kWorkspace);
  cast(out, exact);
  return out;
}

// Groups that fit into a warp, and others; sizes that end inside a group, a byte and a counter.
TEST_CASE("codes and scales on a GPU are those of the CPU, bit for bit", "[autograd][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    for (const Keep keep :
         {Keep::kInt8, Keep::kInt4, Keep::kDerivative8, Keep::kDerivative4, Keep::kBF16}) {
      for (const std::int64_t group : {1, 7, 8, 64, 100, 128, 256, 300, 3000}) {
        for (const std::int64_t size : {1, 8, 33, 2049, 6155}) {
          for (const bool with_nonfinite : {false, true}) {
            if (keep == Keep::kBF16 && with_nonfinite) {
              continue;  // one NaN is as good as another
            }
            INFO(enum_name(keep) << " of " << size << " in groups of " << group);
            const Tensor x = make_input(size, with_nonfinite);
            const Tensor x_there =
                to_device(x, test::shared_allocator(device), MemoryTag::kWorkspace);
            const EncodedResidual expected = encode_residual(x, keep, group, kStream);
            const EncodedResidual got = encode_residual(x_there, keep, group, kStream);
            CHECK(has_same_bytes(got.values, expected.values));
            CHECK(has_same_bytes(got.scales, expected.scales));
            if (!with_nonfinite) {
              CHECK(has_same_bytes(decode_residual(got, DType::kF32),
                                   decode_residual(expected, DType::kF32)));
            }
          }
        }
      }
    }
  }
}

TEST_CASE("bf16 residuals are coded on a GPU as their f32 values", "[autograd][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    const Tensor x = make_input(6155, /*with_nonfinite=*/false);
    Tensor rounded(x.storage()->shared_allocator(), x.shape(), DType::kBF16, MemoryTag::kWorkspace);
    cast(rounded, x);
    cast(x, rounded);
    const Tensor there = to_device(rounded, test::shared_allocator(device), MemoryTag::kWorkspace);
    for (const Keep keep : {Keep::kInt8, Keep::kInt4, Keep::kDerivative8, Keep::kDerivative4}) {
      INFO(enum_name(keep));
      const EncodedResidual expected = encode_residual(x, keep, 128, kStream);
      const EncodedResidual got = encode_residual(there, keep, 128, kStream);
      CHECK(has_same_bytes(got.values, expected.values));
      CHECK(has_same_bytes(got.scales, expected.scales));
      Tensor decoded(x.storage()->shared_allocator(), x.shape(), DType::kBF16,
                     MemoryTag::kWorkspace);
      cast(decoded, decode_residual(expected, DType::kF32));
      CHECK(has_same_bytes(decode_residual(got, DType::kBF16), decoded));
    }
  }
}

}  // namespace
}  // namespace ghost
