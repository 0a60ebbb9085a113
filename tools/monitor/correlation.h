#pragma once

namespace ghost {

/// Pearson's correlation of two series whose numbers come one pair at a time, in constant memory.
/// All members are numbers: it can be a row of a tensor of doubles, zeros at the start.
/// source  Welford 1962, in the form of Chan, Golub and LeVeque 1983
struct Correlation {
  double count = 0;
  double mean_x = 0;
  double mean_y = 0;
  double squares_x = 0;  // sum of squared distances from the mean
  double squares_y = 0;
  double products = 0;

  /// A pair with a number that is not finite is left out.
  void add(double x, double y);
  /// -1 to 1; NaN while either series is constant.
  double value() const;
};

}  // namespace ghost
