#include "engine/tensor/host.h"

#include "engine/tensor/primitives.h"

namespace ghost {

Tensor host_place(const Tensor& x) {
  return x.device().is_cuda() && !x.device().is_dry
             ? Tensor(make_allocator(Device{}), x.shape(), x.dtype(), x.storage()->tag())
             : x;
}

Tensor on_host(const Tensor& x) {
  const Tensor place = host_place(x);
  copy(place, x);
  return place;
}

Tensor to_device(const Tensor& x, const std::shared_ptr<Allocator>& allocator, MemoryTag tag) {
  if (x.device() == allocator->device()) {
    return x;
  }
  Tensor out(allocator, x.shape(), x.dtype(), tag);
  copy(out, x);
  return out;
}

}  // namespace ghost
