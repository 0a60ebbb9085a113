#include "engine/memory/memory_meter.h"

#include <algorithm>

namespace ghost {

std::string_view tag_name(MemoryTag tag) {
  switch (tag) {
    case MemoryTag::kParameters:
      return "parameters";
    case MemoryTag::kGradients:
      return "gradients";
    case MemoryTag::kOptimizer:
      return "optimizer";
    case MemoryTag::kResiduals:
      return "residuals";
    case MemoryTag::kSketches:
      return "sketches";
    case MemoryTag::kWorkspace:
      return "workspace";
    case MemoryTag::kBatch:
      return "batch";
    case MemoryTag::kComm:
      return "comm";
  }
  return {};
}

void MemoryMeter::add(MemoryTag tag, std::int64_t bytes) {
  const auto i = index(tag);
  current_[i] += bytes;
  peak_[i] = std::max(peak_[i], current_[i]);
  total_current_ += bytes;
  raise_total_peak();
}

void MemoryMeter::remove(MemoryTag tag, std::int64_t bytes) {
  current_[index(tag)] -= bytes;
  total_current_ -= bytes;
}

void MemoryMeter::retag(MemoryTag from, MemoryTag to, std::int64_t bytes) {
  current_[index(from)] -= bytes;
  const auto i = index(to);
  current_[i] += bytes;
  peak_[i] = std::max(peak_[i], current_[i]);
}

void MemoryMeter::reset_peaks() {
  peak_ = current_;
  at_total_peak_ = current_;
  total_peak_ = total_current_;
}

void MemoryMeter::raise_total_peak() {
  if (total_current_ > total_peak_) {
    total_peak_ = total_current_;
    at_total_peak_ = current_;
  }
}

}  // namespace ghost
