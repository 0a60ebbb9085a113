#include "engine/tensor/shape.h"

#include <algorithm>
#include <cassert>

#include "engine/core/error.h"

namespace ghost {

Shape::Shape(std::initializer_list<std::int64_t> dims)
    : Shape(std::span<const std::int64_t>(dims.begin(), dims.size())) {}

Shape::Shape(std::span<const std::int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  GHOST_CHECK(dims.size() <= kMaxRank, "a shape of {} dimensions; at most {} are supported",
              dims.size(), kMaxRank);
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

std::int64_t Shape::operator[](int i) const {
  const int at = i < 0 ? i + rank_ : i;
  assert(at >= 0 && at < rank_);
  return dims_[static_cast<std::size_t>(at)];
}

std::int64_t Shape::numel() const {
  std::int64_t count = 1;
  for (const std::int64_t dim : dims()) {
    count *= dim;
  }
  return count;
}

Shape Shape::without_first() const { return Shape(dims().subspan(1)); }

Shape Shape::without_last() const {
  return Shape(dims().first(static_cast<std::size_t>(rank_ - 1)));
}

Shape Shape::with_first(std::int64_t dim) const {
  GHOST_CHECK(rank_ < kMaxRank, "a shape of {} dimensions; at most {} are supported", rank_ + 1,
              kMaxRank);
  Shape out;
  out.rank_ = rank_ + 1;
  out.dims_[0] = dim;
  std::copy(dims().begin(), dims().end(), out.dims_.begin() + 1);
  return out;
}

Shape Shape::with_last(std::int64_t dim) const {
  Shape out = *this;
  out.dims_[static_cast<std::size_t>(rank_ - 1)] = dim;
  return out;
}

bool Shape::operator==(const Shape& other) const {
  return std::equal(dims().begin(), dims().end(), other.dims().begin(), other.dims().end());
}

std::string Shape::text() const { return fmt::format("[{}]", fmt::join(dims(), ",")); }

}  // namespace ghost
