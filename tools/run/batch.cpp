#include "tools/run/batch.h"

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"

namespace ghost {

Batch::Half::Half(const Context& ctx, const Shape& shape, DType dtype)
    : device(ctx.empty(shape, dtype, MemoryTag::kBatch)),
      filled(!is_floating(dtype) || dtype == DType::kF32
                 ? device
                 : ctx.empty(shape, DType::kF32, MemoryTag::kBatch)),
      host(host_place(filled)) {}

void Batch::Half::bring() const {
  copy(filled, host);
  if (filled.dtype() != device.dtype()) {
    cast(device, filled);
  }
}

Batch::Batch(const Context& ctx, const BatchLayout& layout)
    : inputs_(ctx, layout.inputs, layout.input_dtype),
      targets_(ctx, layout.targets, layout.target_dtype) {}

void Batch::load(const Fill& fill) {
  if (inputs_.device.device().is_dry) {
    return;
  }
  fill(HostElements(inputs_.host), HostElements(targets_.host));
  inputs_.bring();
  targets_.bring();
}

}  // namespace ghost
