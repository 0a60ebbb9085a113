#include "engine/device/cuda/stream.h"

#include <algorithm>
#include <array>
#include <mutex>

#include "engine/core/error.h"

namespace ghost::cuda {
namespace {

struct DeviceState {
  std::once_flag once;
  cudaStream_t stream = nullptr;
  int num_multiprocessors = 0;
};

DeviceState& state_of(const Device& device) {
  static std::array<DeviceState, kMostDevices> states;
  GHOST_CHECK(device.is_cuda() && device.index < kMostDevices, "{} is no CUDA device",
              device.name());
  check(cudaSetDevice(device.index), "cudaSetDevice");
  DeviceState& state = states[static_cast<std::size_t>(device.index)];
  std::call_once(state.once, [&] {
    check(cudaStreamCreateWithFlags(&state.stream, cudaStreamNonBlocking), "cudaStreamCreate");
    check(cudaDeviceGetAttribute(&state.num_multiprocessors, cudaDevAttrMultiProcessorCount,
                                 device.index),
          "cudaDeviceGetAttribute");
  });
  return state;
}

}  // namespace

void check(cudaError_t status, std::string_view call) {
  if (status != cudaSuccess) {
    fail("{} failed: {}: {}", call, cudaGetErrorName(status), cudaGetErrorString(status));
  }
}

void check_launch(std::string_view kernel) { check(cudaGetLastError(), kernel); }

cudaStream_t stream_of(const Device& device) { return state_of(device).stream; }

int num_multiprocessors(const Device& device) { return state_of(device).num_multiprocessors; }

int num_blocks(const Device& device, std::int64_t n, int threads, int per_thread) {
  constexpr std::int64_t kThreadsOfMultiprocessor = 2048;
  const std::int64_t per_block = std::int64_t{threads} * per_thread;
  const std::int64_t most = 2 * num_multiprocessors(device) *
                            std::max<std::int64_t>(1, kThreadsOfMultiprocessor / threads);
  return static_cast<int>(std::clamp<std::int64_t>((n + per_block - 1) / per_block, 1, most));
}

}  // namespace ghost::cuda
