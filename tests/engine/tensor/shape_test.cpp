#include "engine/tensor/shape.h"

#include "engine/core/error.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

TEST_CASE("a shape counts its extents from both ends", "[tensor]") {
  const Shape shape{8, 64, 768};
  CHECK(shape.rank() == 3);
  CHECK(shape[0] == 8);
  CHECK(shape[-1] == 768);
  CHECK(shape[-3] == 8);
  CHECK(shape.back() == 768);
  CHECK(shape.numel() == 8 * 64 * 768);
  CHECK(shape.text() == "[8,64,768]");
  CHECK(fmt::format("{}", Shape{1}) == "[1]");
}

TEST_CASE("a shape without extents has one element", "[tensor]") {
  CHECK(Shape{}.numel() == 1);
  CHECK(Shape{}.rank() == 0);
  CHECK(Shape{}.text() == "[]");
  CHECK(Shape{3, 0}.numel() == 0);
}

TEST_CASE("a shape counts past 32 bits", "[tensor]") {
  CHECK(Shape{1 << 20, 1 << 20}.numel() == std::int64_t{1} << 40);
}

TEST_CASE("shapes lose and gain extents", "[tensor]") {
  const Shape shape{2, 3, 5};
  CHECK(shape.without_first() == Shape{3, 5});
  CHECK(shape.without_last() == Shape{2, 3});
  CHECK(shape.with_first(7) == Shape{7, 2, 3, 5});
  CHECK(shape.with_last(7) == Shape{2, 3, 7});
  CHECK(Shape{4}.without_first() == Shape{});
}

TEST_CASE("shapes are equal when all extents are", "[tensor]") {
  CHECK(Shape{2, 3} == Shape{2, 3});
  CHECK_FALSE(Shape{2, 3} == Shape{3, 2});
  CHECK_FALSE(Shape{2, 3} == Shape{2, 3, 1});
}

TEST_CASE("a shape refuses more than six dimensions", "[tensor]") {
  CHECK_THROWS_WITH((Shape{1, 1, 1, 1, 1, 1, 1}),
                    "a shape of 7 dimensions; at most 6 are supported");
  CHECK_THROWS_WITH((Shape{1, 1, 1, 1, 1, 1}.with_first(2)),
                    "a shape of 7 dimensions; at most 6 are supported");
}

}  // namespace
}  // namespace ghost
