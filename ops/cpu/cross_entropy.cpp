#include <algorithm>
#include <cmath>

#include "engine/core/error.h"
#include "ops/cross_entropy_kernels.h"
#include "ops/scaled_rows_kernels.h"

namespace ghost::cpu {
namespace {

void check_targets(const Tensor& targets, std::int64_t classes) {
  for (const std::int32_t target : targets.span<std::int32_t>()) {
    GHOST_CHECK(target >= 0 && target < classes, "cross_entropy: target {}; expected 0 to {}",
                target, classes - 1);
  }
}

// Rows are few and short: one thread, and a sum in f64 in the order of the rows.
template <typename T>
void forward(const CrossEntropyForward& args) {
  const std::int64_t rows = args.logits.dim(0);
  const std::int64_t classes = args.logits.dim(1);
  const T* x = args.logits.data<T>();
  const std::int32_t* target = args.targets.data<std::int32_t>();
  T* gradient = args.gradient.defined() ? args.gradient.data<T>() : nullptr;
  const T share = T{1} / static_cast<T>(rows);
  double total = 0;
  for (std::int64_t row = 0; row < rows; ++row, x += classes) {
    const T highest = *std::max_element(x, x + classes);
    T sum = 0;
    for (std::int64_t i = 0; i < classes; ++i) {
      sum += std::exp(x[i] - highest);
    }
    const T lse = highest + std::log(sum);
    total += static_cast<double>(lse - x[target[row]]);
    if (gradient != nullptr) {
      for (std::int64_t i = 0; i < classes; ++i) {
        gradient[i] = std::exp(x[i] - lse) * share;
      }
      gradient[target[row]] -= share;
      gradient += classes;
    }
  }
  *args.loss.data<T>() = static_cast<T>(total / static_cast<double>(rows));
}

}  // namespace

void cross_entropy(const CrossEntropyForward& args) {
  check_targets(args.targets, args.logits.dim(1));
  visit_real(args.logits.dtype(), [&]<typename T>() { forward<T>(args); });
}

void scaled_rows(const ScaledRows& args) {
  const std::int64_t n = args.x.numel();
  visit_real(args.x.dtype(), [&]<typename T>() {
    for (std::int64_t p = 0; p < args.scale.numel(); ++p) {
      const T factor = args.scale.data<T>()[p];
      std::transform(args.x.data<T>(), args.x.data<T>() + n, args.y.data<T>() + p * n,
                     [&](T value) { return factor * value; });
    }
  });
}

}  // namespace ghost::cpu
