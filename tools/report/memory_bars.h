#pragma once

#include <span>
#include <string>

#include "tools/report/run_log.h"

namespace ghost {

/// Peak bytes per memory tag as an HTML <figure>: one stacked horizontal bar a run, a legend, and a
/// table with the figures. The parts of a bar are each tag's own peak, which need not fall
/// together: the length is an upper bound of what the tags held at once, and the page says so.
std::string render_memory(std::span<const RunLog> runs);

}  // namespace ghost
