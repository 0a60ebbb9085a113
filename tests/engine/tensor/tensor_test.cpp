#include "engine/tensor/tensor.h"

#include <numeric>

#include "tests/support/catch.h"

namespace ghost {
namespace {

Tensor counting(const std::shared_ptr<Allocator>& allocator, const Shape& shape) {
  Tensor x(allocator, shape, DType::kF32, MemoryTag::kWorkspace);
  std::iota(x.data<float>(), x.data<float>() + x.numel(), 0.0F);
  return x;
}

TEST_CASE("a tensor is a handle on shared elements", "[tensor]") {
  const auto allocator = make_allocator(Device{});
  CHECK_FALSE(Tensor{}.defined());
  const Tensor x = counting(allocator, {2, 3});
  REQUIRE(x.defined());
  CHECK(x.bytes() == 24);
  CHECK(x.device().is_cpu());
  const Tensor same = x;
  same.data<float>()[4] = 7;
  CHECK(x.span<float>()[4] == 7);
}

TEST_CASE("a tensor gives its bytes back with its last handle", "[tensor]") {
  const auto allocator = make_allocator(Device{});
  {
    Tensor row;
    {
      const Tensor x = counting(allocator, {4, 16});
      row = x.slice(1, 2);
    }
    CHECK(allocator->meter().current(MemoryTag::kWorkspace) == 256);  // a view holds all of it
    CHECK(row.data<float>()[0] == 16);
  }
  CHECK(allocator->meter().total_current() == 0);
}

TEST_CASE("views share elements", "[tensor]") {
  const auto allocator = make_allocator(Device{});
  const Tensor x = counting(allocator, {4, 3});
  const Tensor reshaped = x.reshape({2, 6});
  CHECK(reshaped.shape() == Shape{2, 6});
  CHECK(reshaped.data<float>() == x.data<float>());

  const Tensor rows = x.slice(1, 3);
  CHECK(rows.shape() == Shape{2, 3});
  CHECK(rows.data<float>()[0] == 3);
  CHECK(rows.slice(1, 2).data<float>()[0] == 6);  // a view of a view
  CHECK(rows.slice(1, 2).offset() == 24);
  CHECK(x.slice(4, 4).numel() == 0);
}

TEST_CASE("reshapes keep the origin, slices drop it", "[tensor]") {
  const auto allocator = make_allocator(Device{});
  const Origin origin{.tape = 3, .node = 1, .output = 0};
  const Tensor x = counting(allocator, {4, 3}).with_origin(origin);
  CHECK(x.reshape({12}).origin() == origin);
  CHECK(x.slice(0, 4).origin() == Origin{});
  CHECK(x.detach().origin() == Origin{});
  CHECK(x.detach().data<float>() == x.data<float>());
}

TEST_CASE("storage changes its tag and is never mistaken for another", "[tensor]") {
  const auto allocator = make_allocator(Device{});
  const Tensor x = counting(allocator, {16});
  x.storage()->retag(MemoryTag::kResiduals);
  CHECK(allocator->meter().current(MemoryTag::kWorkspace) == 0);
  CHECK(allocator->meter().current(MemoryTag::kResiduals) == 64);
  CHECK(counting(allocator, {1}).storage()->serial() != x.storage()->serial());
}

TEST_CASE("a dry tensor has a shape and bytes but no elements", "[tensor]") {
  const auto allocator = make_allocator({.is_dry = true});
  const Tensor x(allocator, {1 << 20, 1 << 20}, DType::kF32, MemoryTag::kParameters);
  CHECK(x.data<float>() == nullptr);
  CHECK(x.slice(5, 9).raw() == nullptr);
  CHECK(allocator->meter().current(MemoryTag::kParameters) == std::int64_t{1} << 42);
}

TEST_CASE("a tensor refuses wrong dtypes, reshapes and slices", "[tensor]") {
  const auto allocator = make_allocator(Device{});
  const Tensor x = counting(allocator, {4, 3});
  CHECK_THROWS_WITH(x.data<double>(), "a tensor of dtype f32 was read as f64");
  CHECK_THROWS_WITH(x.reshape({5}),
                    "reshape of [4,3] to [5]; expected the same number of elements");
  CHECK_THROWS_WITH(x.slice(2, 5),
                    "slice [2, 5) of [4,3]; expected a range of the leading dimension");
  CHECK_THROWS_WITH(x.slice(3, 2),
                    "slice [3, 2) of [4,3]; expected a range of the leading dimension");
  CHECK_THROWS_WITH(x.slice(-1, 2),
                    "slice [-1, 2) of [4,3]; expected a range of the leading dimension");
}

}  // namespace
}  // namespace ghost
