#include "engine/autograd/residual_codec.h"

#include <cmath>
#include <limits>

#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::tensor_of;
using test::values_of;

constexpr RandomStream kStream{.seed = 5, .purpose = Purpose::kRounding};

std::vector<double> through(Keep keep, const Tensor& x, std::int64_t group,
                            const RandomStream& stream = kStream) {
  return values_of(decode_residual(encode_residual(x, keep, group, stream), x.dtype()));
}

std::vector<double> through_int8(const Tensor& x, std::int64_t group,
                                 const RandomStream& stream = kStream) {
  return through(Keep::kInt8, x, group, stream);
}

Tensor in_f32(const Tensor& x) {
  Tensor out(x.storage()->shared_allocator(), x.shape(), DType::kF32, MemoryTag::kWorkspace);
  cast(out, x);
  return out;
}

struct Form {
  Keep keep;
  double steps;  // to the largest of a group, or to 1
};
const Form kScaled[] = {{Keep::kInt8, 127}, {Keep::kInt4, 7}};
const Form kDerivatives[] = {{Keep::kDerivative8, 200}, {Keep::kDerivative4, 11}};

TEST_CASE("bf16 residuals come back rounded", "[autograd]") {
  const Tensor x = test::normal({3, 33}, 1);
  const EncodedResidual encoded = encode_residual(x, Keep::kBF16, 64, kStream);
  CHECK(encoded.values.dtype() == DType::kBF16);
  const Tensor back = decode_residual(encoded, DType::kF64);
  CHECK(back.shape() == x.shape());
  for (std::size_t i = 0; i < 99; ++i) {
    const auto rounded = BFloat16(static_cast<float>(values_of(x)[i]));
    CHECK(values_of(back)[i] == static_cast<double>(static_cast<float>(rounded)));
  }
}

// Sizes with an odd end, groups that end inside of a byte, and more than one chunk of draws.
TEST_CASE("int8 and int4 residuals lie within one step of the value", "[autograd]") {
  for (const auto& [keep, steps] : kScaled) {
    for (const std::int64_t group : {1, 7, 64, 3000}) {
      INFO(enum_name(keep) << " in groups of " << group);
      const Tensor x = test::normal({5, 1231}, 2);
      const auto exact = values_of(x);
      const auto back = through(keep, x, group);
      double worst = 0;  // in steps
      for (std::size_t begin = 0; begin < exact.size(); begin += static_cast<std::size_t>(group)) {
        const std::size_t end = std::min(exact.size(), begin + static_cast<std::size_t>(group));
        double largest = 0;
        for (std::size_t i = begin; i < end; ++i) {
          largest = std::max(largest, std::abs(exact[i]));
        }
        for (std::size_t i = begin; i < end; ++i) {
          worst = std::max(worst, std::abs(back[i] - exact[i]) / largest * steps);
        }
      }
      CHECK(worst <= 1 + 1e-5);
      CHECK(worst > 0.1 * static_cast<double>(group > 1));  // of a group of one only the sign
    }
  }
}

TEST_CASE("derivatives lie within one step of the value", "[autograd]") {
  for (const auto& [keep, steps] : kDerivatives) {
    INFO(enum_name(keep));
    constexpr std::int64_t kCount = 2501;
    const Tensor x = test::normal({kCount}, 1);
    for (std::int64_t i = 0; i < kCount; ++i) {  // from -0.13 to 1.13
      x.data<double>()[i] = -0.13 + 1.26 * static_cast<double>(i) / (kCount - 1);
    }
    const auto exact = values_of(x);
    const auto back = through(keep, x, 64);
    double worst = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      worst = std::max(worst, std::abs(back[i] - exact[i]) * steps);
    }
    CHECK(worst <= 1 + 1e-5);
    CHECK(worst > 0.9);
  }
}

TEST_CASE("derivatives of 0 and 1 come back exactly", "[autograd]") {
  for (const auto& [keep, steps] : kDerivatives) {
    std::vector<double> bits(3001);
    for (std::size_t i = 0; i < bits.size(); ++i) {
      bits[i] = static_cast<double>(i % 2);
    }
    const Tensor x = tensor_of({3001}, bits);
    CHECK(through(keep, x, 64) == bits);
    CHECK(through(keep, in_f32(x), 64) == bits);
  }
}

TEST_CASE("derivatives outside of the grid are clamped to its ends", "[autograd]") {
  CHECK(through(Keep::kDerivative8, tensor_of({2}, {-9, 9}), 64) ==
        std::vector<double>{-27.0 / 200, 228.0 / 200});
  CHECK(through(Keep::kDerivative4, tensor_of({2}, {-9, 9}), 64) ==
        std::vector<double>{-2.0 / 11, 13.0 / 11});
}

TEST_CASE("the codes of f32 are those of the same numbers in f64", "[autograd]") {
  const Tensor exact = test::normal({777}, 4);
  const Tensor single = in_f32(exact);
  const Tensor twice = test::normal({777}, 5);
  cast(twice, single);
  for (const Keep keep : {Keep::kInt8, Keep::kInt4, Keep::kDerivative8, Keep::kDerivative4}) {
    const auto a = encode_residual(single, keep, 64, kStream);
    const auto b = encode_residual(twice, keep, 64, kStream);
    CHECK(std::equal(a.values.raw(), a.values.raw() + a.values.bytes(), b.values.raw()));
  }
}

TEST_CASE("each int8 group has its own scale", "[autograd]") {
  const Tensor x = tensor_of({6}, {127, -127, 0, 0, 0.254, 0.002});
  const EncodedResidual encoded = encode_residual(x, Keep::kInt8, 2, kStream);
  CHECK(encoded.scales.shape() == Shape{3});
  CHECK(encoded.scales.data<float>()[0] == 1.0F);
  CHECK(encoded.scales.data<float>()[1] == 0.0F);
  CHECK(encoded.scales.data<float>()[2] == Approx(0.002));
  const auto back = values_of(decode_residual(encoded, DType::kF64));
  CHECK(back[0] == 127);
  CHECK(back[1] == -127);
  CHECK(back[2] == 0);
  CHECK(back[3] == 0);
  CHECK(back[4] == Approx(0.254));
}

TEST_CASE("rounding is right on average", "[autograd]") {
  const std::vector<double> with_signs = {1, -0.3, 0.123, 0.0004, -0.999, 0.5, 0, 0.7771};
  const std::vector<double> derivatives = {1, -0.128, 0.123, 0.0004, -0.0999, 0.5, 1.128, 0.7771};
  for (const auto& [keep, steps] : {kScaled[0], kScaled[1], kDerivatives[0], kDerivatives[1]}) {
    INFO(enum_name(keep));
    const auto& exact = is_derivative(keep) ? derivatives : with_signs;
    const Tensor x = tensor_of({8}, exact);
    std::vector<double> mean(exact.size());
    constexpr int kDraws = 20000;
    for (int draw = 0; draw < kDraws; ++draw) {
      RandomStream stream = kStream;
      stream.step = draw;
      const auto back = through(keep, x, 8, stream);
      for (std::size_t i = 0; i < mean.size(); ++i) {
        mean[i] += back[i] / kDraws;
      }
    }
    for (std::size_t i = 0; i < mean.size(); ++i) {
      // Between two steps, at the share f of the way: standard deviation sqrt(f (1 - f)) steps.
      const double f = exact[i] * steps - std::floor(exact[i] * steps);
      const double margin = 5 * std::sqrt(f * (1 - f) / kDraws) / steps + 1e-6;
      CHECK(mean[i] == Approx(exact[i]).epsilon(0).margin(margin));
    }
  }
}

// Neighbours share a word of the generator and, in 4 bits, a byte.
TEST_CASE("rounding errors of neighbours are not correlated", "[autograd]") {
  for (const Keep keep : {Keep::kInt8, Keep::kInt4}) {
    constexpr std::int64_t kCount = 40000;
    const Tensor x = test::normal({kCount}, 6);
    const auto exact = values_of(x);
    const auto back = through(keep, x, 64);
    double product = 0;
    double square = 0;
    for (std::size_t i = 0; i + 1 < exact.size(); i += 2) {
      product += (back[i] - exact[i]) * (back[i + 1] - exact[i + 1]);
      square += (back[i] - exact[i]) * (back[i] - exact[i]);
    }
    CHECK(std::abs(product / square) < 5 / std::sqrt(kCount / 2.0));
  }
}

TEST_CASE("int8 rounding repeats with its stream", "[autograd]") {
  const Tensor x = test::normal({129}, 3);
  CHECK(through_int8(x, 64) == through_int8(x, 64));
  RandomStream other = kStream;
  other.site = 1;
  CHECK(through_int8(x, 64) != through_int8(x, 64, other));
}

TEST_CASE("int8 groups of tiny numbers become zeros", "[autograd]") {
  const auto back = through_int8(tensor_of({3}, {1e-38, -3e-42, 0}), 4);
  CHECK(back == std::vector<double>{0, 0, 0});
}

TEST_CASE("int4 packs two elements into a byte, low half first", "[autograd]") {
  const EncodedResidual encoded =
      encode_residual(tensor_of({3}, {7, -7, 3}), Keep::kInt4, 64, kStream);
  REQUIRE(encoded.values.shape() == Shape{2});
  CHECK(encoded.values.data<std::uint8_t>()[0] == 0x97);
  CHECK(encoded.values.data<std::uint8_t>()[1] == 0x03);
  CHECK(values_of(decode_residual(encoded, DType::kF64)) == std::vector<double>{7, -7, 3});
}

TEST_CASE("int8 does not hide what is not finite", "[autograd]") {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    const auto back = through_int8(tensor_of({4}, {1, bad, 1, 1}), 2);
    CHECK(std::isnan(back[1]));
    CHECK(back[2] == Approx(1));
  }
}

TEST_CASE("encoded residuals take the bytes that they claim", "[autograd]") {
  for (const bool is_dry : {false, true}) {
    const auto allocator = make_allocator({.is_dry = is_dry});
    const Tensor x(allocator, {100, 64}, DType::kF32, MemoryTag::kWorkspace);
    fill(x, 1);
    const MemoryMeter& meter = allocator->meter();
    {
      const auto encoded = encode_residual(x, Keep::kBF16, 64, kStream);
      CHECK(meter.current(MemoryTag::kResiduals) == 6400 * 2);
    }
    {
      const auto encoded = encode_residual(x, Keep::kInt8, 64, kStream);
      CHECK(meter.current(MemoryTag::kResiduals) == 6400 + metered_bytes(100 * 4));
      const Tensor back = decode_residual(encoded, DType::kF32);
      CHECK(meter.current(MemoryTag::kWorkspace) == 2 * 6400 * 4);
    }
    {
      const auto encoded = encode_residual(x, Keep::kInt4, 64, kStream);
      CHECK(meter.current(MemoryTag::kResiduals) == 3200 + metered_bytes(100 * 4));
    }
    {
      const auto encoded = encode_residual(x, Keep::kDerivative8, 64, kStream);
      CHECK(meter.current(MemoryTag::kResiduals) == 6400);
    }
    {
      const auto encoded = encode_residual(x, Keep::kDerivative4, 64, kStream);
      CHECK(meter.current(MemoryTag::kResiduals) == 3200);
      CHECK(decode_residual(encoded, DType::kF32).shape() == x.shape());
    }
    CHECK(meter.current(MemoryTag::kResiduals) == 0);
  }
}

TEST_CASE("encode_residual refuses keeps that encode nothing", "[autograd]") {
  CHECK_THROWS_WITH(encode_residual(tensor_of({1}, {1}), Keep::kExact, 64, kStream),
                    "a residual that is not encoded");
}

}  // namespace
}  // namespace ghost
