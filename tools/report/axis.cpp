#include "tools/report/axis.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <fmt/format.h>

#include "tools/console/quantity.h"

namespace ghost {
namespace {

/// The smallest of 1, 2, 5 times a power of ten that is at least `value`.
double round_up_to_nice(double value) {
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (value <= factor * power * (1 + 1e-9)) {
      return factor * power;
    }
  }
  return 10 * power;
}

/// Decimals that tell multiples of `spacing` apart.
int decimals_for(double spacing) {
  return std::clamp(static_cast<int>(std::ceil(-std::log10(spacing) - 1e-9)), 0, 9);
}

}  // namespace

std::string tick_label(double value, double spacing, double largest) {
  if (std::abs(value) < spacing * 1e-6) {
    return "0";
  }
  if (largest < 0.01) {
    // Nine digits, of which rounding errors of the tick's position are none.
    const int exponent = static_cast<int>(std::floor(std::log10(std::abs(value) * (1 + 1e-9))));
    return fmt::format("{:.9g}e{}", value / std::pow(10.0, exponent), exponent);
  }
  struct Unit {
    double size;
    const char* suffix;
  };
  for (const Unit& unit : {Unit{1e12, "T"}, Unit{1e9, "G"}, Unit{1e6, "M"}, Unit{1e3, "k"}}) {
    if (largest >= 10 * unit.size || (unit.size > 1e3 && largest >= unit.size)) {
      return fmt::format("{:.{}f}{}", value / unit.size, decimals_for(spacing / unit.size),
                         unit.suffix);
    }
  }
  const int decimals = decimals_for(spacing);
  return decimals == 0 ? format_count(std::llround(value))
                       : fmt::format("{:.{}f}", value, decimals);
}

Axis::Axis(double low, double high, Scale scale, int num_ticks, Ends ends)
    : low_(low), high_(high), scale_(scale) {
  if (!(high_ > low_)) {
    const double margin = low_ == 0 ? 1 : std::abs(low_) * 0.1;
    low_ -= margin;
    high_ += margin;
  }
  if (scale_ == Scale::kLog) {
    place_log_ticks(num_ticks);
  } else {
    place_linear_ticks(num_ticks, ends);
  }
}

double Axis::position(double value) const {
  if (scale_ == Scale::kLog) {
    return (std::log(value) - std::log(low_)) / (std::log(high_) - std::log(low_));
  }
  return (value - low_) / (high_ - low_);
}

void Axis::place_linear_ticks(int num_ticks, Ends ends) {
  const double smallest = ends == Ends::kData ? 1 : 0;
  const double spacing = std::max(round_up_to_nice((high_ - low_) / num_ticks), smallest);
  auto first = static_cast<std::int64_t>(std::floor(low_ / spacing + 1e-9));
  auto last = static_cast<std::int64_t>(std::ceil(high_ / spacing - 1e-9));
  if (ends == Ends::kWholeTicks) {
    low_ = static_cast<double>(first) * spacing;
    high_ = static_cast<double>(last) * spacing;
  } else {
    first = static_cast<std::int64_t>(std::ceil(low_ / spacing - 1e-9));
    last = static_cast<std::int64_t>(std::floor(high_ / spacing + 1e-9));
  }
  const double largest = std::max(std::abs(low_), std::abs(high_));
  for (std::int64_t i = first; i <= last; ++i) {
    const double value = static_cast<double>(i) * spacing;
    ticks_.push_back({value, tick_label(value, spacing, largest)});
  }
}

void Axis::place_log_ticks(int num_ticks) {
  const auto add = [this](double value) {
    if (value >= low_ * (1 - 1e-9) && value <= high_ * (1 + 1e-9)) {
      ticks_.push_back({value, value < 0.001 || value >= 1e5 ? fmt::format("{:.0e}", value)
                                                             : fmt::format("{:g}", value)});
    }
  };
  const int first = static_cast<int>(std::floor(std::log10(low_)));
  const int last = static_cast<int>(std::floor(std::log10(high_)));
  const int decades = last - first + 1;
  // 1, 2, 5 in each decade while there is room for them, else every decade or every few.
  const bool is_fine = decades <= (num_ticks + 1) / 2;
  const int stride = is_fine ? 1 : (decades + num_ticks - 1) / num_ticks;
  for (int exponent = first; exponent <= last; exponent += stride) {
    const double power = std::pow(10.0, exponent);
    add(power);
    if (is_fine) {
      add(2 * power);
      add(5 * power);
    }
  }
  if (ticks_.size() < 2) {
    // A range inside one step of 1, 2, 5: round values at equal differences instead.
    ticks_.clear();
    const double spacing = round_up_to_nice((high_ - low_) / num_ticks);
    for (double value = std::ceil(low_ / spacing) * spacing; value <= high_; value += spacing) {
      ticks_.push_back({value, tick_label(value, spacing, high_)});
    }
  }
}

}  // namespace ghost
