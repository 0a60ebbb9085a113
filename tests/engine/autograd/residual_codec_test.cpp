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

std::vector<double> through_int8(const Tensor& x, std::int64_t group,
                                 const RandomStream& stream = kStream) {
  return values_of(decode_residual(encode_residual(x, Keep::kInt8, group, stream), x.dtype()));
}

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

TEST_CASE("int8 residuals lie within one step of the value", "[autograd]") {
  for (const std::int64_t group : {1, 7, 64, 1000}) {
    const Tensor x = test::normal({5, 39}, 2);
    const auto exact = values_of(x);
    const auto back = through_int8(x, group);
    for (std::size_t i = 0; i < exact.size(); ++i) {
      const auto begin = i / static_cast<std::size_t>(group) * static_cast<std::size_t>(group);
      double largest = 0;
      for (std::size_t j = begin;
           j < std::min(exact.size(), begin + static_cast<std::size_t>(group)); ++j) {
        largest = std::max(largest, std::abs(exact[j]));
      }
      CHECK(std::abs(back[i] - exact[i]) <= largest / 127 * (1 + 1e-5));
    }
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

TEST_CASE("int8 rounding is right on average", "[autograd]") {
  const std::vector<double> exact = {1, -0.3, 0.123, 0.0004, -0.999, 0.5, 0, 0.7771};
  const Tensor x = tensor_of({8}, exact);
  std::vector<double> mean(exact.size());
  constexpr int kDraws = 20000;
  for (int draw = 0; draw < kDraws; ++draw) {
    RandomStream stream = kStream;
    stream.step = draw;
    const auto back = through_int8(x, 8, stream);
    for (std::size_t i = 0; i < mean.size(); ++i) {
      mean[i] += back[i] / kDraws;
    }
  }
  // The error of one draw is at most a step, of standard deviation at most half a step.
  const double margin = 5 * 0.5 / 127 / std::sqrt(static_cast<double>(kDraws));
  for (std::size_t i = 0; i < mean.size(); ++i) {
    CHECK(mean[i] == Approx(exact[i]).margin(margin));
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

TEST_CASE("int8 does not hide what is not finite", "[autograd]") {
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    const auto back = through_int8(tensor_of({4}, {1, bad, 1, 1}), 2);
    CHECK(std::isnan(back[1]));
    CHECK(back[2] == Approx(1));
  }
}

TEST_CASE("encoded residuals take the bytes that they claim", "[autograd]") {
  for (const DeviceType type : {DeviceType::kCpu, DeviceType::kDry}) {
    const auto allocator = make_allocator({.type = type});
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
    CHECK(meter.current(MemoryTag::kResiduals) == 0);
  }
}

TEST_CASE("encode_residual refuses keeps that encode nothing", "[autograd]") {
  CHECK_THROWS_WITH(encode_residual(tensor_of({1}, {1}), Keep::kExact, 64, kStream),
                    "a residual that is not encoded");
}

}  // namespace
}  // namespace ghost
