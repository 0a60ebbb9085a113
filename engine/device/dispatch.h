#pragma once

#include "engine/device/device.h"

namespace ghost {

/// The one place where work meets a backend: runs `cpu` on a CPU, `cuda` on a GPU in builds that
/// have that backend, nothing on a dry device.
template <typename Cpu, typename Cuda>
void dispatch(const Device& device, Cpu&& cpu, Cuda&& cuda) {
  if (device.is_dry) {
    return;
  }
  switch (device.type) {
    case DeviceType::kCpu:
      cpu();
      return;
    case DeviceType::kCuda:
      if constexpr (kHasCuda) {
        cuda();
      }
      return;
  }
}

}  // namespace ghost
