#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "engine/autograd/context.h"

namespace ghost {

/// Inputs and targets [B, T] on a device, filled by the host.
class TokenBatch {
 public:
  using Fill = std::function<void(std::span<std::int32_t> inputs, std::span<std::int32_t> targets)>;

  TokenBatch(const Context& ctx, const Shape& shape);

  /// Brings what `fill` writes to the device, in order with the work enqueued there. Does nothing
  /// on a dry device.
  void load(const Fill& fill);

  const Tensor& inputs() const { return inputs_; }
  const Tensor& targets() const { return targets_; }
  /// The targets of the last load, on the host.
  std::span<const std::int32_t> host_targets() const { return host_targets_.span<std::int32_t>(); }

 private:
  Tensor inputs_;
  Tensor targets_;
  Tensor host_inputs_;  // the same tensors where the device is the CPU
  Tensor host_targets_;
};

}  // namespace ghost
