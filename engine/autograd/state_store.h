#pragma once

#include <map>
#include <memory>
#include <string>

#include "engine/memory/allocator.h"
#include "engine/tensor/tensor.h"

namespace ghost {

/// What ways of keeping residuals remember from step to step, by name: part of a checkpoint, so
/// that a run that is resumed goes on bit by bit.
class StateStore {
 public:
  explicit StateStore(std::shared_ptr<Allocator> allocator);

  /// The tensor of that name; zeros when it is new, cast when it has been found in a checkpoint.
  /// Throws ghost::Error when it has another shape.
  Tensor get(const std::string& name, const Shape& shape, DType dtype = DType::kF64,
             MemoryTag tag = MemoryTag::kOptimizer);
  /// The same in f64 where the host reads and writes its elements, of a GPU's store too: for
  /// counters and the like, which no kernel reads. Without elements on a dry device.
  Tensor get_on_host(const std::string& name, const Shape& shape,
                     MemoryTag tag = MemoryTag::kOptimizer);
  /// The tensor of that name, or an undefined one.
  Tensor find(const std::string& name) const;
  /// Drops every tensor whose name begins so.
  void forget(const std::string& prefix);
  const std::map<std::string, Tensor>& all() const { return tensors_; }

 private:
  Tensor get(const std::shared_ptr<Allocator>& place, const std::string& name, const Shape& shape,
             DType dtype, MemoryTag tag);

  std::shared_ptr<Allocator> allocator_;
  std::shared_ptr<Allocator> host_;  // the same one where the device is the CPU
  std::map<std::string, Tensor> tensors_;
};

}  // namespace ghost
