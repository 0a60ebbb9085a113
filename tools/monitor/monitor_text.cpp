#include "tools/monitor/monitor_text.h"

#include <cmath>

#include <fmt/format.h>

#include "tools/console/quantity.h"

namespace ghost {
namespace {

std::string correlation_text(double value) {
  return std::isfinite(value) ? fmt::format("{:+.2f}", value) : "  - ";
}

std::string correlation_row(const std::array<double, kProxies.size()>& values,
                            std::string_view name) {
  std::string row;
  for (const double value : values) {
    row += fmt::format("{:>18}", correlation_text(value));
  }
  return fmt::format("{}  {}", row, name);
}

}  // namespace

std::vector<std::string> alarm_lines(const MonitorRecord& record,
                                     const std::vector<MonitoredModule>& modules) {
  std::vector<std::string> lines;
  for (const auto& [kind, name] : EnumNames<AlarmKind>::kNames) {
    const Alarm* first = nullptr;
    std::int64_t count = 0;
    for (const Alarm& alarm : record.alarms) {
      if (alarm.kind == kind && alarm.is_on && alarm.is_first) {
        first = first == nullptr ? &alarm : first;
        ++count;
      }
    }
    if (first != nullptr) {
      lines.push_back(fmt::format(
          "monitor: step {}: {} in {}{}: {}", record.step, name, modules[first->module].name,
          count > 1 ? fmt::format(" and {} more", count - 1) : "", first->detail));
    }
  }
  return lines;
}

std::string describe_monitor(const Monitor& monitor, const MonitorConfig& config) {
  const Monitor::Bytes bytes = monitor.bytes();
  return fmt::format(
      "monitor: {} linears every {} steps; {} bytes of state at any step: {} activation sketches "
      "of {} columns, {} gradient sketches of {}, {} counters",
      monitor.modules().size(), config.every, format_count(bytes.total()),
      format_count(bytes.activation_sketches), config.columns(),
      format_count(bytes.gradient_sketches), config.gradient_columns, format_count(bytes.rest));
}

std::vector<std::string> correlation_lines(const ProxyCorrelations& correlations,
                                           const std::vector<MonitoredModule>& modules) {
  std::vector<std::string> lines = {
      fmt::format("monitor: correlation with the exact gradient norm over {} observations",
                  correlations.observations)};
  std::string head;
  for (const std::string_view proxy : kProxies) {
    head += fmt::format("{:>18}", proxy);
  }
  lines.push_back(head);
  lines.push_back(correlation_row(correlations.overall, "all modules together"));
  for (std::size_t i = 0; i < modules.size(); ++i) {
    lines.push_back(correlation_row(correlations.modules[i], modules[i].name));
  }
  return lines;
}

}  // namespace ghost
