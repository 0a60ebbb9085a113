#include "engine/autograd/state_store.h"

#include "engine/core/error.h"
#include "engine/tensor/primitives.h"

namespace ghost {

Tensor StateStore::get(const std::string& name, const Shape& shape) {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) {
    GHOST_CHECK(found->second.shape() == shape, "state {} has shape {}; expected {}", name,
                found->second.shape(), shape);
    return found->second;
  }
  Tensor fresh(allocator_, shape, DType::kF64, MemoryTag::kOptimizer);
  fill_zero(fresh);
  tensors_.emplace(name, fresh);
  return fresh;
}

}  // namespace ghost
