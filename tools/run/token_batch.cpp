#include "tools/run/token_batch.h"

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"

namespace ghost {

TokenBatch::TokenBatch(const Context& ctx, const Shape& shape)
    : inputs_(ctx.empty(shape, DType::kI32, MemoryTag::kBatch)),
      targets_(ctx.empty(shape, DType::kI32, MemoryTag::kBatch)),
      host_inputs_(host_place(inputs_)),
      host_targets_(host_place(targets_)) {}

void TokenBatch::load(const Fill& fill) {
  if (inputs_.device().is_dry) {
    return;
  }
  fill(host_inputs_.span<std::int32_t>(), host_targets_.span<std::int32_t>());
  copy(inputs_, host_inputs_);
  copy(targets_, host_targets_);
}

}  // namespace ghost
