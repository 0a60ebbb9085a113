#include "tools/data/progress_line.h"

#include <iostream>

#include "tools/console/console.h"

namespace ghost {
namespace {

constexpr std::string_view kEraseLine = "\r\x1b[2K";
constexpr std::size_t kColumns = 79;
constexpr std::chrono::milliseconds kRedrawEvery{100};

}  // namespace

ProgressLine::ProgressLine() : ProgressLine(std::cout, detect_console(/*log_every=*/1).live) {}

void ProgressLine::show(std::string_view text) {
  const auto now = std::chrono::steady_clock::now();
  if (!is_live_ || (is_drawn_ && now - last_draw_ < kRedrawEvery)) {
    return;
  }
  out_ << kEraseLine << text.substr(0, kColumns) << std::flush;
  is_drawn_ = true;
  last_draw_ = now;
}

void ProgressLine::finish() {
  if (is_drawn_) {
    out_ << kEraseLine << std::flush;
    is_drawn_ = false;
  }
}

}  // namespace ghost
