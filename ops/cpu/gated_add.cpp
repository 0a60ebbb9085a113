#include <cmath>

#include "ops/gated_add_kernels.h"

namespace ghost::cpu {

void gated_add(const GatedAddForward& args) {
  visit_real(args.y.dtype(), [&]<typename T>() {
    const T share = std::tanh(args.gate.data<T>()[0]);
    const T* x = args.x.data<T>();
    const T* change = args.change.data<T>();
    T* y = args.y.data<T>();
    for (std::int64_t i = 0; i < args.y.numel(); ++i) {
      y[i] = x[i] + share * change[i];
    }
  });
}

void gated_add(const GatedAddBackward& args) {
  visit_real(args.dy.dtype(), [&]<typename T>() {
    const T share = std::tanh(args.gate.data<T>()[0]);
    const T* dy = args.dy.data<T>();
    if (args.dchange.defined()) {
      T* dchange = args.dchange.data<T>();
      for (std::int64_t i = 0; i < args.dy.numel(); ++i) {
        dchange[i] = share * dy[i];
      }
    }
    if (args.dgate.defined()) {
      const T* change = args.change.data<T>();
      double sum = 0;
      for (std::int64_t i = 0; i < args.dy.numel(); ++i) {
        sum += static_cast<double>(dy[i]) * static_cast<double>(change[i]);
      }
      T& dgate = args.dgate.data<T>()[0];
      dgate = (args.accumulate ? dgate : T{0}) + (1 - share * share) * static_cast<T>(sum);
    }
  });
}

}  // namespace ghost::cpu
