#include "tools/train/tensor_snapshot.h"

#include "engine/tensor/primitives.h"

namespace ghost {

void TensorSnapshot::take(std::span<const NamedTensor> tensors) {
  std::vector<NamedTensor> copies;
  for (const NamedTensor& named : tensors) {
    const Tensor& x = named.tensor;
    if (!x.defined()) {
      copies.push_back(named);
      continue;
    }
    Tensor place;
    if (copies.size() < copies_.size()) {
      place = copies_[copies.size()].tensor;
    }
    if (!place.defined() || place.shape() != x.shape() || place.dtype() != x.dtype()) {
      place = Tensor(host_, x.shape(), x.dtype(), x.storage()->tag());
    }
    copy(place, x);
    copies.push_back({named.name, place});
  }
  copies_ = std::move(copies);
}

}  // namespace ghost
