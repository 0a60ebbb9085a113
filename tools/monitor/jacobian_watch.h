#pragma once

#include <cstdint>
#include <vector>

#include "models/model.h"

namespace ghost {

/// Norms of region Jacobians of one step, means over batch and micro-steps: of the pullbacks P_k of
/// regions first_region, first_region + 1, ..., n - 1 and of their suffix products P_k ... P_(n-1).
/// Empty where none were formed.
struct RegionJacobians {
  std::int64_t first_region = 0;
  std::vector<double> local;
  std::vector<double> suffix;
};

/// Takes the norms while backward passes of a model with regions form their Jacobians, as scan and
/// hybrid do. Other models have none.
class JacobianWatch {
 public:
  void attach(Model& model);
  RegionJacobians detach(Model& model);

 private:
  RegionJacobians sums_;
  double passes_ = 0;
};

}  // namespace ghost
