#include "models/lbi/squared_distance.h"

#include "engine/device/dispatch.h"
#include "engine/tensor/host.h"

namespace ghost {

double squared_distance(const Tensor& a, const Tensor& b) {
  const Tensor x = on_host(a);
  const Tensor y = on_host(b);
  double sum = 0;
  visit_floating(x.dtype(), [&]<typename T>() {
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      const auto difference = to_double(x.data<T>()[i]) - to_double(y.data<T>()[i]);
      sum += difference * difference;
    }
  });
  return sum;
}

}  // namespace ghost
