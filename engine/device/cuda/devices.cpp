#include "engine/device/cuda/devices.h"

#include <algorithm>
#include <cuda_runtime_api.h>

#include <fmt/format.h>

namespace ghost::cuda {
int num_devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();  // what it reports is no error of a later call
    return 0;
  }
  return std::min(count, kMostDevices);
}

std::string expected_devices() {
  const int count = num_devices();
  if (count > 0) {
    return count == 1 ? "cpu or cuda:0" : fmt::format("cpu or cuda:0 to cuda:{}", count - 1);
  }
  int driver = 0;
  const bool has_driver = cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0;
  cudaGetLastError();
  return has_driver ? "cpu, as the CUDA driver shows no device"
                    : "cpu, as this machine has no CUDA driver";
}

}  // namespace ghost::cuda
