#include "tools/console/quantity.h"

#include <array>
#include <cmath>
#include <string_view>

#include <fmt/format.h>

namespace ghost {

std::string format_count(std::int64_t count) {
  std::string digits = fmt::format("{}", count);
  const std::size_t first = count < 0 ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) {
    at -= 3;
    digits.insert(at, 1, ',');
  }
  return digits;
}

std::string format_short(double value) {
  if (!std::isfinite(value)) {
    return "?";
  }
  static constexpr std::array<std::string_view, 6> kPrefixes = {"", " k", " M", " G", " T", " P"};
  std::size_t prefix = 0;
  // 999.5 would print as 1000 with three digits, so it already belongs to the next prefix.
  while (std::abs(value) >= 999.5 && prefix + 1 < kPrefixes.size()) {
    value /= 1000;
    ++prefix;
  }
  if (prefix == 0 && value == std::floor(value)) {
    return fmt::format("{:.0f}", value);
  }
  const double size = std::abs(value);
  const int decimals = size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", value, decimals, kPrefixes[prefix]);
}

std::string format_bytes(std::int64_t bytes) {
  static constexpr std::array<std::string_view, 5> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (std::abs(bytes) < 1024) {
    return fmt::format("{} B", bytes);
  }
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  // 1023.95 would print as 1024.0.
  while (std::abs(value) >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e15) {
    return "?";
  }
  const std::int64_t total = std::llround(seconds);
  const std::int64_t minutes = total / 60;
  const std::int64_t hours = minutes / 60;
  if (minutes == 0) {
    return fmt::format("{}s", total);
  }
  if (hours == 0) {
    return fmt::format("{}m{:02}s", minutes, total % 60);
  }
  if (hours < 48) {
    return fmt::format("{}h{:02}m", hours, minutes % 60);
  }
  return fmt::format("{}d{:02}h", hours / 24, hours % 24);
}

std::string format_ms(double ms) {
  if (!std::isfinite(ms)) {
    return "? ms";
  }
  const int decimals = ms < 9.995 ? 2 : ms < 999.95 ? 1 : 0;
  return fmt::format("{:.{}f} ms", ms, decimals);
}

}  // namespace ghost
