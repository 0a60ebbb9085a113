#pragma once

#include <string>
#include <vector>

#include "tools/monitor/monitor.h"

namespace ghost {

/// One line for each kind of alarm that has gone on in a module where it never was before; alarms
/// that come back are in metrics.jsonl only.
std::vector<std::string> alarm_lines(const MonitorRecord& record,
                                     const std::vector<MonitoredModule>& modules);

/// What is watched, how often, and the bytes of state.
std::string describe_monitor(const Monitor& monitor, const MonitorConfig& config);

/// A title, a line for all modules together and one for each.
std::vector<std::string> correlation_lines(const ProxyCorrelations& correlations,
                                           const std::vector<MonitoredModule>& modules);

}  // namespace ghost
