#include "engine/tensor/tensor.h"

#include <atomic>
#include <utility>

namespace ghost {
namespace {

std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> last{0};  // identity only: no behaviour hangs on it
  return ++last;
}

}  // namespace

Storage::Storage(std::shared_ptr<Allocator> allocator, std::int64_t bytes, MemoryTag tag)
    : allocator_(std::move(allocator)),
      data_(allocator_->allocate(bytes, tag)),
      bytes_(bytes),
      tag_(tag),
      serial_(next_serial()) {}

Storage::~Storage() { allocator_->release(data_, bytes_, tag_); }

void Storage::retag(MemoryTag tag) {
  allocator_->meter().retag(tag_, tag, metered_bytes(bytes_));
  tag_ = tag;
}

Tensor::Tensor(std::shared_ptr<Allocator> allocator, const Shape& shape, DType dtype, MemoryTag tag)
    : storage_(
          std::make_shared<Storage>(std::move(allocator), shape.numel() * itemsize(dtype), tag)),
      shape_(shape),
      dtype_(dtype) {}

Tensor Tensor::reshape(const Shape& shape) const {
  GHOST_CHECK(shape.numel() == numel(), "reshape of {} to {}; expected the same number of elements",
              shape_, shape);
  Tensor out = *this;
  out.shape_ = shape;
  return out;
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t end) const {
  GHOST_CHECK(shape_.rank() > 0 && begin >= 0 && begin <= end && end <= dim(0),
              "slice [{}, {}) of {}; expected a range of the leading dimension", begin, end,
              shape_);
  const std::int64_t row_bytes = shape_.without_first().numel() * itemsize(dtype_);
  Tensor out = *this;
  out.offset_ += begin * row_bytes;
  out.shape_ = shape_.without_first().with_first(end - begin);
  out.origin_ = {};
  return out;
}

Tensor Tensor::with_origin(const Origin& origin) const {
  Tensor out = *this;
  out.origin_ = origin;
  return out;
}

}  // namespace ghost
