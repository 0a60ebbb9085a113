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
  explicit StateStore(std::shared_ptr<Allocator> allocator) : allocator_(std::move(allocator)) {}

  /// The f64 tensor of that name; zeros when it is new. Throws ghost::Error when it has another
  /// shape.
  Tensor get(const std::string& name, const Shape& shape);
  const std::map<std::string, Tensor>& all() const { return tensors_; }

 private:
  std::shared_ptr<Allocator> allocator_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace ghost
