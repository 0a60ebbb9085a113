#include "engine/tensor/dtype.h"

#include <cmath>
#include <limits>

#include "tests/support/catch.h"

namespace ghost {
namespace {

std::uint16_t bits_of(float value) { return BFloat16(value).bits; }
float from_bits(std::uint32_t bits) { return std::bit_cast<float>(bits); }

TEST_CASE("dtypes have sizes and names", "[tensor]") {
  CHECK(itemsize(DType::kF64) == 8);
  CHECK(itemsize(DType::kF32) == 4);
  CHECK(itemsize(DType::kI32) == 4);
  CHECK(itemsize(DType::kBF16) == 2);
  CHECK(itemsize(DType::kU16) == 2);
  CHECK(itemsize(DType::kU8) == 1);
  CHECK(itemsize(DType::kI8) == 1);
  CHECK(dtype_name(DType::kBF16) == "bf16");
  CHECK(dtype_name(DType::kI8) == "i8");
  CHECK(is_floating(DType::kBF16));
  CHECK_FALSE(is_floating(DType::kI32));
}

TEST_CASE("bf16 rounds to nearest, ties to even", "[tensor]") {
  CHECK(bits_of(1.0F) == 0x3f80);
  CHECK(bits_of(-2.0F) == 0xc000);
  CHECK(bits_of(from_bits(0x3f807fff)) == 0x3f80);  // below the middle
  CHECK(bits_of(from_bits(0x3f808000)) == 0x3f80);  // tie, to even: down
  CHECK(bits_of(from_bits(0x3f818000)) == 0x3f82);  // tie, to even: up
  CHECK(bits_of(from_bits(0x3f808001)) == 0x3f81);  // above the middle
  CHECK(bits_of(from_bits(0x3fffffff)) == 0x4000);  // carries into the exponent
  CHECK(bits_of(from_bits(0x00008001)) == 0x0001);  // subnormal
}

TEST_CASE("bf16 keeps zeros, infinities and NaN", "[tensor]") {
  CHECK(bits_of(0.0F) == 0x0000);
  CHECK(bits_of(-0.0F) == 0x8000);
  CHECK(bits_of(std::numeric_limits<float>::infinity()) == 0x7f80);
  CHECK(bits_of(-std::numeric_limits<float>::infinity()) == 0xff80);
  CHECK(bits_of(std::numeric_limits<float>::max()) == 0x7f80);  // rounds up to infinity
  // A NaN whose payload lies in the lower half must not turn into infinity, nor one of all ones
  // into zero.
  for (const std::uint32_t bits : {0x7f800001U, 0xff800001U, 0x7fffffffU, 0xffffffffU}) {
    CHECK(std::isnan(static_cast<float>(BFloat16(from_bits(bits)))));
  }
}

TEST_CASE("every bf16 number survives the way through f32", "[tensor]") {
  bool survives = true;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = from_bits(bits << 16);
    survives = survives && (std::isnan(value) ? std::isnan(static_cast<float>(BFloat16(value)))
                                              : bits_of(value) == bits);
  }
  CHECK(survives);
}

TEST_CASE("visit_real serves f32 and f64 and names what it does not", "[tensor]") {
  const auto size_of = [](DType dtype) {
    return visit_real(dtype, [&]<typename T>() { return sizeof(T); });
  };
  CHECK(size_of(DType::kF32) == 4);
  CHECK(size_of(DType::kF64) == 8);
  CHECK_THROWS_WITH(size_of(DType::kBF16),
                    "dtype bf16 has no CPU kernel here; expected f32 or f64");
}

}  // namespace
}  // namespace ghost
