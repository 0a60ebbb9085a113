#pragma once

#include <span>
#include <string>

#include "tools/report/run_log.h"

namespace ghost {

/// The most runs that one report overlays: one colour each.
inline constexpr std::size_t kMaxReportRuns = 8;

/// One self-contained HTML page for one run, or for several overlaid: facts, loss, learning rate,
/// gradient norm, throughput, memory per tag, events, config. No script, no outside resource; the
/// same logs give the same bytes. Throws ghost::Error for no run or more than kMaxReportRuns.
std::string render_report(std::span<const RunLog> runs);

}  // namespace ghost
