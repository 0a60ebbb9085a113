#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "engine/autograd/context.h"
#include "models/model.h"

namespace ghost {

/// Elements of a batch on the host, to be filled: indices or numbers, as the batch has them.
/// Reading them as the wrong ones throws ghost::Error.
class HostElements {
 public:
  explicit HostElements(Tensor tensor) : tensor_(std::move(tensor)) {}

  operator std::span<std::int32_t>() const { return tensor_.span<std::int32_t>(); }  // NOLINT
  operator std::span<float>() const { return tensor_.span<float>(); }                // NOLINT

  const Tensor& tensor() const { return tensor_; }

 private:
  Tensor tensor_;
};

/// Inputs and targets on a device, filled by the host.
class Batch {
 public:
  /// Functions of spans of int32 or float serve too.
  using Fill = std::function<void(HostElements inputs, HostElements targets)>;

  Batch(const Context& ctx, const BatchLayout& layout);

  /// Brings what `fill` writes to the device, in order with the work enqueued there. Does nothing
  /// on a dry device.
  void load(const Fill& fill);

  const Tensor& inputs() const { return inputs_.device; }
  const Tensor& targets() const { return targets_.device; }
  /// The targets of the last load, on the host.
  std::span<const std::int32_t> host_targets() const { return targets_.host.span<std::int32_t>(); }

 private:
  /// A tensor and where the host fills it: indices as i32, numbers as f32.
  struct Half {
    Half(const Context& ctx, const Shape& shape, DType dtype);
    void bring() const;

    Tensor device;
    Tensor filled;  // on the device, of the dtype that the host fills; the same tensor if it can be
    Tensor host;    // the same tensor where the device is the CPU
  };

  Half inputs_;
  Half targets_;
};

}  // namespace ghost
