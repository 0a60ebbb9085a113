#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>
#include <string_view>

#include "engine/device/cuda/devices.h"
#include "engine/tensor/tensor.h"

namespace ghost::cuda {

/// Throws ghost::Error naming the call, CUDA's name of the failure and what it says of it.
void check(cudaError_t status, std::string_view call);

/// Throws when the kernel before it could not be launched.
void check_launch(std::string_view kernel);

/// All work of a device runs on this one stream, in order; its device is made the thread's current
/// one. Lives as long as the process.
cudaStream_t stream_of(const Device& device);
inline cudaStream_t stream_of(const Tensor& x) { return stream_of(x.device()); }

/// Streaming multiprocessors of a device.
int num_multiprocessors(const Device& device);

/// Blocks of `threads` threads for `n` independent elements, `per_thread` a thread, in a kernel
/// that strides over the grid: no more than fill the device twice.
int num_blocks(const Device& device, std::int64_t n, int threads, int per_thread = 1);

}  // namespace ghost::cuda
