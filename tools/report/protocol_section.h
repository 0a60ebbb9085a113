#pragma once

#include <span>
#include <string>

#include "tools/report/run_log.h"

namespace ghost {

/// The section of the evaluation protocol as HTML: scores of each run that has been evaluated with
/// it, and a chart of the losses by position. Empty when none has.
std::string render_protocol(std::span<const RunLog> runs);

}  // namespace ghost
