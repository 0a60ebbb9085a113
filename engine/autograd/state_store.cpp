#include "engine/autograd/state_store.h"

#include "engine/core/error.h"
#include "engine/tensor/primitives.h"

namespace ghost {

StateStore::StateStore(std::shared_ptr<Allocator> allocator)
    : allocator_(std::move(allocator)),
      host_(allocator_->device().is_cuda()
                ? make_allocator(Device{.is_dry = allocator_->device().is_dry})
                : allocator_) {}

Tensor StateStore::get(const std::string& name, const Shape& shape, DType dtype, MemoryTag tag) {
  return get(allocator_, name, shape, dtype, tag);
}

Tensor StateStore::get_on_host(const std::string& name, const Shape& shape, MemoryTag tag) {
  return get(host_, name, shape, DType::kF64, tag);
}

Tensor StateStore::get(const std::shared_ptr<Allocator>& place, const std::string& name,
                       const Shape& shape, DType dtype, MemoryTag tag) {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) {
    Tensor& known = found->second;
    GHOST_CHECK(known.shape() == shape, "state {} has shape {}; expected {}", name, known.shape(),
                shape);
    if (known.dtype() != dtype) {  // a checkpoint has brought it back, where all is f64
      Tensor own(allocator_, shape, dtype, tag);
      cast(own, known);
      known = own;
    }
    if (known.device() != place->device()) {
      Tensor own(place, shape, dtype, tag);
      copy(own, known);
      known = own;
    }
    known.storage()->retag(tag);
    return known;
  }
  Tensor fresh(place, shape, dtype, tag);
  fill_zero(fresh);
  tensors_.emplace(name, fresh);
  return fresh;
}

Tensor StateStore::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? Tensor{} : found->second;
}

void StateStore::forget(const std::string& prefix) {
  std::erase_if(tensors_, [&](const auto& entry) { return entry.first.starts_with(prefix); });
}

}  // namespace ghost
