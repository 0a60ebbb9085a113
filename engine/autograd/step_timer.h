#pragma once

#include <string_view>

#include "engine/tensor/tensor.h"

namespace ghost {

class Node;

/// Is told what a step does while it does it: the rules of ops, and parts that have a name. They
/// nest, as where a block runs again in its backward pass: an end belongs to the last open begin.
class StepTimer {
 public:
  virtual ~StepTimer() = default;

  virtual void begin() = 0;
  /// `outputs` as the op returned them; the node still has the inputs.
  virtual void end_forward(const Node& node, const Tensors& outputs) = 0;
  /// `cotangents` of outputs, undefined where nothing flowed back, then those it made for inputs.
  virtual void end_backward(const Node& node, const Tensors& cotangents) = 0;
  virtual void end_part(std::string_view name) = 0;

  /// A named part for its lifetime; nothing where `timer` is null.
  class Part {
   public:
    Part(StepTimer* timer, std::string_view name) : timer_(timer), name_(name) {
      if (timer_ != nullptr) {
        timer_->begin();
      }
    }
    ~Part() {
      if (timer_ != nullptr) {
        timer_->end_part(name_);
      }
    }
    Part(const Part&) = delete;
    Part& operator=(const Part&) = delete;

   private:
    StepTimer* timer_;
    std::string_view name_;
  };
};

}  // namespace ghost
