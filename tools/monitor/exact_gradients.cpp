#include "tools/monitor/exact_gradients.h"

#include <cmath>

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"

namespace ghost {
namespace {

struct Products {
  double estimate_estimate = 0;
  double estimate_exact = 0;
  double exact_exact = 0;
};

Products products_of(const Tensor& estimate, const Tensor& exact) {
  Products sums;
  visit_real(exact.dtype(), [&]<typename T>() {
    const T* g = estimate.data<T>();
    const T* want = exact.data<T>();
    double gg = 0;
    double gw = 0;
    double ww = 0;
    for (std::int64_t i = 0; i < exact.numel(); ++i) {
      const auto a = static_cast<double>(g[i]);
      const auto b = static_cast<double>(want[i]);
      gg += a * a;
      gw += a * b;
      ww += b * b;
    }
    sums = {gg, gw, ww};
  });
  return sums;
}

}  // namespace

void ExactGradients::take() {
  const std::shared_ptr<Allocator> host = make_allocator(Device{});
  exact_.clear();
  for (const MonitoredModule& module : modules_) {
    Tensor kept;
    if (module.weight != nullptr) {
      const Tensor now = on_host(module.weight->grad);
      kept = Tensor(host, now.shape(), now.dtype(), MemoryTag::kWorkspace);
      copy(kept, now);
    }
    exact_.push_back(kept);
  }
}

std::vector<GradientAgreement> ExactGradients::compare() {
  std::vector<GradientAgreement> out(modules_.size(), {std::nan(""), std::nan("")});
  for (std::size_t i = 0; i < modules_.size(); ++i) {
    if (exact_[i].defined()) {
      const Products sums = products_of(on_host(modules_[i].weight->grad), exact_[i]);
      out[i] = {
          .cosine = sums.estimate_exact / std::sqrt(sums.estimate_estimate * sums.exact_exact),
          .ratio = std::sqrt(sums.estimate_estimate / sums.exact_exact)};
    }
  }
  exact_.clear();
  return out;
}

}  // namespace ghost
