#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/io/weights.h"

namespace ghost {

/// Copies of tensors in memory of the host, in places that the next copy takes again. A meter of
/// its own counts them: they are not of a step.
class TensorSnapshot {
 public:
  /// Waits for a GPU. Undefined tensors stay so.
  void take(std::span<const NamedTensor> tensors);

  std::span<const NamedTensor> tensors() const { return copies_; }
  std::int64_t bytes() const { return host_->meter().total_current(); }

 private:
  std::shared_ptr<Allocator> host_ = make_allocator(Device{});
  std::vector<NamedTensor> copies_;
};

}  // namespace ghost
