#include "engine/device/device.h"

#include <charconv>

#include "engine/core/error.h"
#include "engine/device/cuda/devices.h"

namespace ghost {

std::string Device::name() const {
  return fmt::format("{}{}", is_dry ? "dry " : "",
                     is_cuda() ? fmt::format("cuda:{}", index) : "cpu");
}

Device read_device(std::string_view text) {
  if (text == "cpu") {
    return {};
  }
  int index = 0;
  bool is_cuda = text == "cuda";
  if (text.starts_with("cuda:")) {
    const auto [end, error] = std::from_chars(text.data() + 5, text.data() + text.size(), index);
    is_cuda = error == std::errc{} && end == text.data() + text.size() && index >= 0;
  }
  if (!is_cuda) {
    fail<ConfigError>("device is \"{}\"; expected cpu, cuda or cuda:N", text);
  }
  return {.type = DeviceType::kCuda, .index = index};
}

Device parse_device(std::string_view text) {
  const Device device = read_device(text);
  if (!device.is_cuda()) {
    return device;
  }
  if constexpr (!kHasCuda) {
    fail<ConfigError>("device is \"{}\"; this build has no CUDA backend, expected cpu", text);
  } else if (device.index >= cuda::num_devices()) {
    fail<ConfigError>("device is \"{}\"; expected {}", text, cuda::expected_devices());
  }
  return device;
}

}  // namespace ghost
