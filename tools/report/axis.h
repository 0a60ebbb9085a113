#pragma once

#include <string>
#include <utility>
#include <vector>

namespace ghost {

enum class Scale { kLinear, kLog };

/// Where a linear axis ends: at a tick, or at the data. The latter is for counts (steps, tokens):
/// its ticks are whole numbers.
enum class Ends { kWholeTicks, kData };

struct Tick {
  double value = 0;
  std::string label;
};

/// A scale with its round, labelled ticks. Values map to 0 (low end) .. 1 (high end).
class Axis {
 public:
  /// Covers [low, high]. Ticks are multiples of 1, 2 or 5 times a power of ten, about `num_ticks`
  /// of them. An empty range is widened. Log: low > 0, and the ends stay at the data.
  Axis(double low, double high, Scale scale, int num_ticks, Ends ends = Ends::kWholeTicks);

  double position(double value) const;
  const std::vector<Tick>& ticks() const { return ticks_; }
  /// For values that have round numbers of their own, as bytes.
  void replace_ticks(std::vector<Tick> ticks) { ticks_ = std::move(ticks); }
  double low() const { return low_; }
  double high() const { return high_; }

 private:
  void place_linear_ticks(int num_ticks, Ends ends);
  void place_log_ticks(int num_ticks);

  double low_;
  double high_;
  Scale scale_;
  std::vector<Tick> ticks_;
};

/// The label of a tick on an axis whose ticks are `spacing` apart and reach up to `largest` in
/// size, so that all labels of one axis share their form: "0.25", "1,500", "20k", "1.5M", "6e-4".
std::string tick_label(double value, double spacing, double largest);

}  // namespace ghost
