#include "engine/tensor/primitives.h"

#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::values_of;

constexpr std::int64_t kLarge = (1 << 14) + 3;  // runs in parallel, ends inside a vector

Tensor make(const std::shared_ptr<Allocator>& allocator, const Shape& shape, DType dtype) {
  return Tensor(allocator, shape, dtype, MemoryTag::kWorkspace);
}

TEST_CASE("fill and fill_zero set every element", "[tensor]") {
  const auto allocator = make_allocator(Device{});
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    for (const std::int64_t size : {std::int64_t{1}, std::int64_t{33}, 5 * kLarge}) {
      const Tensor x = make(allocator, {size}, dtype);
      fill(x, 2.5);
      CHECK(values_of(x) == std::vector<double>(static_cast<std::size_t>(size), 2.5));
      fill_zero(x);
      CHECK(values_of(x) == std::vector<double>(static_cast<std::size_t>(size), 0.0));
    }
  }
}

TEST_CASE("cast goes between f32, f64 and bf16", "[tensor]") {
  const auto allocator = make_allocator(Device{});
  for (const std::int64_t size : {std::int64_t{5}, kLarge}) {
    const Tensor exact = test::normal({size}, 1);
    const Tensor single = make(allocator, {size}, DType::kF32);
    const Tensor back = make(allocator, {size}, DType::kF64);
    cast(single, exact);
    cast(back, single);
    const auto values = values_of(exact);
    for (std::size_t i = 0; i < values.size(); i += 97) {
      CHECK(values_of(back)[i] == static_cast<double>(static_cast<float>(values[i])));
    }
    const Tensor half = make(allocator, {size}, DType::kBF16);
    cast(half, single);
    cast(single, half);
    bool is_rounded = true;
    for (std::size_t i = 0; i < values.size(); ++i) {
      is_rounded = is_rounded && single.data<float>()[i] ==
                                     static_cast<float>(BFloat16(static_cast<float>(values[i])));
    }
    CHECK(is_rounded);
  }
}

TEST_CASE("cast to the same dtype copies", "[tensor]") {
  const auto allocator = make_allocator(Device{});
  const Tensor x = test::normal({7}, 2);
  const Tensor y = make(allocator, {7}, DType::kF64);
  cast(y, x);
  CHECK(values_of(y) == values_of(x));
}

TEST_CASE("accumulate adds and scale multiplies in place", "[tensor]") {
  const auto allocator = make_allocator(Device{});
  for (const std::int64_t size : {std::int64_t{5}, kLarge}) {
    const Tensor x = test::normal({size}, 3);
    const Tensor sum = make(allocator, {size}, DType::kF64);
    fill(sum, 1.0);
    accumulate(sum, x);
    scale(sum, 0.5);
    const auto values = values_of(x);
    const auto sums = values_of(sum);
    bool is_right = true;
    for (std::size_t i = 0; i < values.size(); ++i) {
      is_right = is_right && sums[i] == (1 + values[i]) * 0.5;
    }
    CHECK(is_right);
  }
}

TEST_CASE("copy and accumulate accept any shape of as many elements", "[tensor]") {
  const auto allocator = make_allocator(Device{});
  const Tensor x = test::normal({2, 6}, 4);
  const Tensor y = make(allocator, {3, 4}, DType::kF64);
  copy(y, x);
  CHECK(values_of(y) == values_of(x));
  accumulate(y, x);
  CHECK(values_of(y)[5] == 2 * values_of(x)[5]);
}

TEST_CASE("item reads the one element", "[tensor]") {
  CHECK(item(test::tensor_of({1, 1}, {4.5})) == 4.5);
}

TEST_CASE("primitives do nothing on a dry device", "[tensor]") {
  const auto allocator = make_allocator({.is_dry = true});
  const Tensor x = make(allocator, {4}, DType::kF32);
  const Tensor y = make(allocator, {4}, DType::kBF16);
  fill(x, 1);
  fill_zero(x);
  scale(x, 2);
  copy(x, x);
  cast(y, x);
  accumulate(x, x);
  CHECK(item(make(allocator, {1}, DType::kF32)) == 0);
}

TEST_CASE("primitives refuse tensors that do not fit", "[tensor]") {
  const auto allocator = make_allocator(Device{});
  const Tensor x = test::normal({2, 2}, 1);
  const Tensor shorter = test::normal({3}, 1);
  const Tensor single = make(allocator, {4}, DType::kF32);
  const Tensor integers = make(allocator, {4}, DType::kI32);
  CHECK_THROWS_WITH(copy(shorter, x), "shape mismatch in copy: [3] against [2,2]");
  CHECK_THROWS_WITH(cast(shorter, x), "shape mismatch in cast: [3] against [2,2]");
  CHECK_THROWS_WITH(accumulate(shorter, x), "shape mismatch in accumulate: [3] against [2,2]");
  CHECK_THROWS_WITH(copy(single, x), "copy from f64 to f32; expected one dtype");
  CHECK_THROWS_WITH(cast(integers, x), "cast from f64 to i32; expected f32, f64 or bf16");
  CHECK_THROWS_WITH(accumulate(single, x),
                    "accumulate of f64 to f32; expected one dtype, or f32 and bf16");
  CHECK_THROWS_WITH(item(x), "item of a tensor of shape [2,2]; expected one element");
}

}  // namespace
}  // namespace ghost
