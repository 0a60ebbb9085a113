#include "tools/monitor/correlation.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ghost {

void Correlation::add(double x, double y) {
  if (!std::isfinite(x) || !std::isfinite(y)) {
    return;
  }
  count += 1;
  const double from_x = x - mean_x;
  const double from_y = y - mean_y;
  mean_x += from_x / count;
  mean_y += from_y / count;
  squares_x += from_x * (x - mean_x);
  squares_y += from_y * (y - mean_y);
  products += from_x * (y - mean_y);
}

double Correlation::value() const {
  const double scale = std::sqrt(squares_x) * std::sqrt(squares_y);
  return scale > 0 ? std::clamp(products / scale, -1.0, 1.0)
                   : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace ghost
