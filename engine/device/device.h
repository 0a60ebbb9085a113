#pragma once

#include <string>
#include <string_view>

namespace ghost {

#ifdef GHOST_HAS_CUDA
inline constexpr bool kHasCuda = true;
#else
inline constexpr bool kHasCuda = false;
#endif

enum class DeviceType { kCpu, kCuda };

/// Where a tensor lives and its kernels run.
struct Device {
  DeviceType type = DeviceType::kCpu;
  int index = 0;
  /// Shapes and bytes only, as they would be on the device: no memory is allocated, no kernel runs,
  /// and the build need not know the device (plans, `inspect`).
  bool is_dry = false;

  bool is_cpu() const { return type == DeviceType::kCpu; }
  bool is_cuda() const { return type == DeviceType::kCuda; }
  bool operator==(const Device&) const = default;

  /// "cpu", "cuda:0" or, for example, "dry cpu".
  std::string name() const;
};

/// Reads `cpu`, `cuda` or `cuda:N`; throws ghost::ConfigError for anything else.
Device read_device(std::string_view text);

/// The same; throws also for a device that this build or this machine does not have.
Device parse_device(std::string_view text);

}  // namespace ghost
