#include "engine/autograd/state_store.h"

#include "engine/core/error.h"
#include "engine/tensor/primitives.h"

namespace ghost {

Tensor StateStore::get(const std::string& name, const Shape& shape, DType dtype, MemoryTag tag) {
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
    known.storage()->retag(tag);
    return known;
  }
  Tensor fresh(allocator_, shape, dtype, tag);
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
