#pragma once

#include <string>

namespace ghost::cuda {

/// No machine has more; room for what is kept for each device.
inline constexpr int kMostDevices = 64;

/// Devices that a driver shows; 0 without a driver, which is no error.
int num_devices();

/// The devices of this machine, for messages that say what was expected: "cpu or cuda:0", or why
/// there is nothing but the CPU.
std::string expected_devices();

}  // namespace ghost::cuda
