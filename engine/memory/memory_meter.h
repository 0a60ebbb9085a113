#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace ghost {

/// What an allocation is for. Every allocation carries exactly one tag.
enum class MemoryTag {
  kParameters,
  kGradients,
  kOptimizer,
  kResiduals,
  kSketches,
  kWorkspace,
  kBatch,
  kComm,
};
inline constexpr int kNumMemoryTags = 8;
using BytesPerTag = std::array<std::int64_t, kNumMemoryTags>;

/// Name as printed and logged: "parameters", "gradients", ...
std::string_view tag_name(MemoryTag tag);

/// Exact bytes in use per tag, now and at their highest. One per device, fed by its allocator.
/// Not thread-safe: tensors are created and destroyed by the thread that drives the device.
class MemoryMeter {
 public:
  void add(MemoryTag tag, std::int64_t bytes);
  void remove(MemoryTag tag, std::int64_t bytes);

  /// The same bytes under another name, as when an output becomes a residual.
  void retag(MemoryTag from, MemoryTag to, std::int64_t bytes);

  std::int64_t current(MemoryTag tag) const { return current_[index(tag)]; }
  std::int64_t peak(MemoryTag tag) const { return peak_[index(tag)]; }
  std::int64_t total_current() const { return total_current_; }
  std::int64_t total_peak() const { return total_peak_; }
  /// Residuals and sketches together, when they were highest: what backward waits for.
  std::int64_t kept_peak() const { return kept_peak_; }

  /// What each tag held when the total was highest.
  const BytesPerTag& at_total_peak() const { return at_total_peak_; }

  /// Peaks start again from what is in use now.
  void reset_peaks();

 private:
  static std::size_t index(MemoryTag tag) { return static_cast<std::size_t>(tag); }
  void raise_peaks(std::size_t tag);

  BytesPerTag current_{};
  BytesPerTag peak_{};
  BytesPerTag at_total_peak_{};
  std::int64_t total_current_ = 0;
  std::int64_t total_peak_ = 0;
  std::int64_t kept_peak_ = 0;
};

}  // namespace ghost
