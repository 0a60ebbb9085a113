#pragma once

#include <span>
#include <string>

#include "tools/report/run_log.h"

namespace ghost {

/// What a monitor has seen: curves of its modules, one page section a run, a timeline of alarms,
/// correlations with the exact gradient norm. Empty when no run has a monitor.
std::string render_monitor(std::span<const RunLog> runs);

}  // namespace ghost
