#include "tools/monitor/jacobian_watch.h"

#include "models/lbi/jacobian_statistics.h"
#include "models/lbi/lbi_model.h"

namespace ghost {
namespace {

void add(std::vector<double>& sums, const std::vector<double>& terms) {
  sums.resize(terms.size());
  for (std::size_t i = 0; i < terms.size(); ++i) {
    sums[i] += terms[i];
  }
}

}  // namespace

void JacobianWatch::attach(Model& model) {
  sums_ = {};
  passes_ = 0;
  if (auto* regions = dynamic_cast<LbiModel*>(&model)) {
    regions->attach_pullback_observer(
        [this](Context& ctx, std::size_t first, const Tensor& pullbacks) {
          if (ctx.device().is_dry) {
            return;
          }
          const JacobianNorms norms = jacobian_norms(ctx, pullbacks);
          sums_.first_region = static_cast<std::int64_t>(first);
          add(sums_.local, norms.local);
          add(sums_.suffix, norms.suffix);
          ++passes_;
        });
  }
}

RegionJacobians JacobianWatch::detach(Model& model) {
  if (auto* regions = dynamic_cast<LbiModel*>(&model)) {
    regions->attach_pullback_observer(nullptr);
  }
  RegionJacobians means = std::move(sums_);
  for (std::vector<double>* norms : {&means.local, &means.suffix}) {
    for (double& norm : *norms) {
      norm /= passes_;
    }
  }
  return means;
}

}  // namespace ghost
