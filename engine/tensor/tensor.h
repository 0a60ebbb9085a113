#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/memory/allocator.h"
#include "engine/tensor/dtype.h"
#include "engine/tensor/shape.h"

namespace ghost {

/// One allocation, metered under a tag until the last tensor on it is gone.
class Storage {
 public:
  Storage(std::shared_ptr<Allocator> allocator, std::int64_t bytes, MemoryTag tag);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() const { return data_; }
  std::int64_t bytes() const { return bytes_; }
  MemoryTag tag() const { return tag_; }
  void retag(MemoryTag tag);
  Allocator& allocator() const { return *allocator_; }
  const std::shared_ptr<Allocator>& shared_allocator() const { return allocator_; }
  /// Never used twice in a process, unlike an address.
  std::uint64_t serial() const { return serial_; }

 private:
  std::shared_ptr<Allocator> allocator_;
  std::byte* data_;
  std::int64_t bytes_;
  MemoryTag tag_;
  std::uint64_t serial_;
};

/// Which output of which node of which tape made a tensor; how a backward pass finds its way.
struct Origin {
  std::uint64_t tape = 0;  // 0: not recorded
  std::int32_t node = -1;
  std::int32_t output = 0;

  bool operator==(const Origin&) const = default;
};

/// A value handle: shape and dtype over shared storage, contiguous and row-major. Copies share
/// the elements; a const handle does not make its elements const.
class Tensor {
 public:
  Tensor() = default;
  Tensor(std::shared_ptr<Allocator> allocator, const Shape& shape, DType dtype, MemoryTag tag);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  std::int64_t dim(int i) const { return shape_[i]; }
  std::int64_t numel() const { return shape_.numel(); }
  std::int64_t bytes() const { return numel() * itemsize(dtype_); }
  DType dtype() const { return dtype_; }
  const Device& device() const { return storage_->allocator().device(); }
  const std::shared_ptr<Storage>& storage() const { return storage_; }
  std::int64_t offset() const { return offset_; }  // bytes into the storage

  /// The elements; null on a dry device. `T` must be the tensor's dtype.
  template <typename T>
  T* data() const {
    GHOST_CHECK(kDTypeOf<T> == dtype_, "a tensor of dtype {} was read as {}", dtype_name(dtype_),
                dtype_name(kDTypeOf<T>));
    return reinterpret_cast<T*>(raw());
  }
  template <typename T>
  std::span<T> span() const {
    return {data<T>(), static_cast<std::size_t>(numel())};
  }
  std::byte* raw() const {
    return storage_->data() == nullptr ? nullptr : storage_->data() + offset_;
  }

  /// The same elements under another shape of equal size; keeps its origin on the tape.
  Tensor reshape(const Shape& shape) const;
  /// Rows [begin, end) of the leading dimension; no origin.
  Tensor slice(std::int64_t begin, std::int64_t end) const;

  const Origin& origin() const { return origin_; }
  /// The same elements with another origin.
  Tensor with_origin(const Origin& origin) const;
  Tensor detach() const { return with_origin({}); }

 private:
  std::shared_ptr<Storage> storage_;
  std::int64_t offset_ = 0;
  Shape shape_;
  DType dtype_ = DType::kF32;
  Origin origin_;
};

using Tensors = std::vector<Tensor>;

}  // namespace ghost
