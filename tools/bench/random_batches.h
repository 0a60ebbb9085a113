#pragma once

#include <vector>

#include "models/model.h"
#include "tools/run/batch.h"
#include "tools/run/run_config.h"

namespace ghost {

/// Random inputs and targets of every micro-step of a step, drawn once: filling a batch copies.
class RandomBatches {
 public:
  RandomBatches(const Config& config, const Model& model);

  void fill(std::int64_t micro_step, const HostElements& inputs, const HostElements& targets) const;

 private:
  /// On the host: indices as i32, numbers of 0 to 1 as f32.
  struct Drawn {
    Tensor inputs;
    Tensor targets;
  };
  std::vector<Drawn> batches_;
};

}  // namespace ghost
