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
  current_[index(tag)] += bytes;
  total_current_ += bytes;
  raise_peaks(index(tag));
}

void MemoryMeter::remove(MemoryTag tag, std::int64_t bytes) {
  current_[index(tag)] -= bytes;
  total_current_ -= bytes;
}

void MemoryMeter::retag(MemoryTag from, MemoryTag to, std::int64_t bytes) {
  current_[index(from)] -= bytes;
  current_[index(to)] += bytes;
  raise_peaks(index(to));
}

void MemoryMeter::reset_peaks() {
  peak_ = current_;
  at_total_peak_ = current_;
  total_peak_ = total_current_;
  kept_peak_ = current(MemoryTag::kResiduals) + current(MemoryTag::kSketches);
}

void MemoryMeter::raise_peaks(std::size_t tag) {
  peak_[tag] = std::max(peak_[tag], current_[tag]);
  kept_peak_ = std::max(kept_peak_, current(MemoryTag::kResiduals) + current(MemoryTag::kSketches));
  if (total_current_ > total_peak_) {
    total_peak_ = total_current_;
    at_total_peak_ = current_;
  }
}

}  // namespace ghost
