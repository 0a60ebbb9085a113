#include "tests/support/devices.h"

#include <cstdio>
#include <map>

#include <fmt/format.h>

#include "engine/device/cuda/devices.h"

namespace ghost::test {
namespace {

std::vector<Device> find_devices() {
  std::vector<Device> devices;
  if constexpr (kHasCuda) {
    for (int i = 0; i < cuda::num_devices(); ++i) {
      devices.push_back({.type = DeviceType::kCuda, .index = i});
    }
    if (devices.empty()) {
      fmt::print(stderr, "skipped: all checks on CUDA devices; expected {}\n",
                 cuda::expected_devices());
    }
  } else {
    fmt::print(stderr, "skipped: all checks on CUDA devices; this build has no CUDA backend\n");
  }
  return devices;
}

}  // namespace

const std::vector<Device>& cuda_devices() {
  static const std::vector<Device> devices = find_devices();
  return devices;
}

const std::shared_ptr<Allocator>& shared_allocator(const Device& device) {
  thread_local std::map<std::string, std::shared_ptr<Allocator>> allocators;
  std::shared_ptr<Allocator>& allocator = allocators[device.name()];
  if (allocator == nullptr) {
    allocator = make_allocator(device);
  }
  return allocator;
}

}  // namespace ghost::test
