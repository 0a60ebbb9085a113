#include "engine/random/gaussian_matrix.h"

#include <cmath>

#include "engine/random/philox.h"
#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::values_of;

Tensor zeros(const Shape& shape, DType dtype = DType::kF64) {
  Tensor out(make_allocator(Device{}), shape, dtype, MemoryTag::kWorkspace);
  for (std::int64_t i = 0; dtype == DType::kF64 && i < out.numel(); ++i) {
    out.data<double>()[i] = 0;
  }
  return out;
}

TEST_CASE("a gaussian matrix lays out the counter as documented", "[random]") {
  const GaussianMatrix matrix{.seed = 0x100000539, .id = 18, .generation = 7, .columns = 3};
  const Tensor out = zeros({4, 3});
  matrix.draw(out);
  const auto words = Philox(0x100000539)(/*c0=*/2, 0, 18, 7);  // elements 8 to 11
  const auto low = normal_pair(words[0], words[1]);
  const auto high = normal_pair(words[2], words[3]);
  const auto values = values_of(out);
  CHECK(values[8] == low[0]);
  CHECK(values[9] == low[1]);
  CHECK(values[10] == high[0]);
  CHECK(values[11] == high[1]);
}

TEST_CASE("any rows of a gaussian matrix can be drawn alone", "[random]") {
  const GaussianMatrix matrix{.seed = 5, .id = 1, .columns = 7};
  const Tensor whole = zeros({1000, 7});  // enough for several threads
  matrix.draw(whole);
  const Tensor wide = zeros({40, 10});
  matrix.draw(wide, /*first_row=*/333, /*first_column=*/2);
  for (std::int64_t row = 0; row < 40; ++row) {
    for (std::int64_t column = 0; column < 10; ++column) {
      const double expected =
          column < 2 || column == 9 ? 0.0 : whole.data<double>()[(333 + row) * 7 + column - 2];
      CHECK(wide.data<double>()[row * 10 + column] == expected);
    }
  }
  const Tensor single = zeros({1000, 7}, DType::kF32);
  matrix.draw(single);
  CHECK(single.data<float>()[4321] == static_cast<float>(whole.data<double>()[4321]));
  const Tensor half = zeros({1000, 7}, DType::kBF16);
  matrix.draw(half);
  CHECK(half.data<BFloat16>()[4321].bits == BFloat16(single.data<float>()[4321]).bits);
}

// In f64 they differ by what the libraries' logarithms, sines and cosines do.
TEST_CASE("a GPU draws the CPU's gaussian matrix", "[random][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    for (const std::int64_t columns : {1, 3, 4, 27}) {
      const GaussianMatrix matrix{
          .seed = 0x300000007, .id = 2, .generation = 9, .columns = columns};
      for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16}) {
        const Tensor expected = zeros({1001, columns}, dtype);
        const Tensor got(test::shared_allocator(device), {1001, columns + 3}, dtype,
                         MemoryTag::kWorkspace);
        fill_zero(got);
        matrix.draw(expected, /*first_row=*/77);
        matrix.draw(got, /*first_row=*/77, /*first_column=*/2);
        const auto a = values_of(got);
        const auto b = values_of(expected);
        const double tolerance = dtype == DType::kF64 ? 1e-14 : dtype == DType::kF32 ? 1e-6 : 0.02;
        double error = 0;
        for (std::int64_t row = 0; row < 1001; ++row) {
          for (std::int64_t column = 0; column < columns + 3; ++column) {
            const bool is_outside = column < 2 || column == columns + 2;
            const double want =
                is_outside ? 0 : b[static_cast<std::size_t>(row * columns + column - 2)];
            error = std::max(
                error, std::abs(a[static_cast<std::size_t>(row * (columns + 3) + column)] - want));
          }
        }
        INFO(device.name() << " in " << dtype_name(dtype) << ", " << columns << " columns");
        CHECK(error < tolerance);
      }
    }
  }
}

TEST_CASE("gaussian matrices of other names differ; entries are standard normal", "[random]") {
  const Tensor a = zeros({20000, 2});
  const Tensor b = zeros({20000, 2});
  GaussianMatrix{.seed = 5, .columns = 2}.draw(a);
  double mean = 0;
  double square = 0;
  for (const double x : values_of(a)) {
    mean += x / 40000;
    square += x * x / 40000;
  }
  CHECK(std::abs(mean) < 5 / std::sqrt(40000.0));
  CHECK(square == Approx(1).margin(5 * std::sqrt(2 / 40000.0)));
  for (const GaussianMatrix& other :
       {GaussianMatrix{.seed = 6, .columns = 2}, GaussianMatrix{.seed = 5, .id = 1, .columns = 2},
        GaussianMatrix{.seed = 5, .generation = 1, .columns = 2}}) {
    other.draw(b);
    double product = 0;
    for (std::int64_t i = 0; i < a.numel(); ++i) {
      product += a.data<double>()[i] * b.data<double>()[i] / 40000;
    }
    CHECK(std::abs(product) < 5 / std::sqrt(40000.0));
  }
}

}  // namespace
}  // namespace ghost
