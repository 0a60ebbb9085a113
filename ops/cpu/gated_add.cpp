#include <cmath>

#include "ops/gated_add_kernels.h"

namespace ghost::cpu {

void gated_add(const GatedAddForward& args) {
  visit_floating(args.y.dtype(), [&]<typename T>() {
    const RealOf<T> share = std::tanh(widen(args.gate.data<T>()[0]));
    const T* x = args.x.data<T>();
    const T* change = args.change.data<T>();
    T* y = args.y.data<T>();
    for (std::int64_t i = 0; i < args.y.numel(); ++i) {
      put(y[i], widen(x[i]) + share * widen(change[i]));
    }
  });
}

void gated_add(const GatedAddBackward& args) {
  visit_floating(args.dy.dtype(), [&]<typename T>() {
    const RealOf<T> share = std::tanh(widen(args.gate.data<T>()[0]));
    const T* dy = args.dy.data<T>();
    if (args.dchange.defined()) {
      T* dchange = args.dchange.data<T>();
      for (std::int64_t i = 0; i < args.dy.numel(); ++i) {
        put(dchange[i], share * widen(dy[i]));
      }
    }
    if (args.dgate.defined()) {
      const T* change = args.change.data<T>();
      double sum = 0;
      for (std::int64_t i = 0; i < args.dy.numel(); ++i) {
        sum += to_double(dy[i]) * to_double(change[i]);
      }
      RealOf<T>& dgate = args.dgate.data<RealOf<T>>()[0];
      dgate = (args.accumulate ? dgate : 0) + (1 - share * share) * static_cast<RealOf<T>>(sum);
    }
  });
}

}  // namespace ghost::cpu
