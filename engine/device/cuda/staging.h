#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/device/device.h"

namespace ghost::cuda {

// Between ordinary host memory and a device, in order with everything else on the device's stream,
// through a ring of pinned buffers that lives as long as the process.

/// Enqueues a copy to the device. `host` has been read when this returns; the caller waits only
/// when it is a whole ring of bytes ahead of the device.
void upload(const Device& device, std::byte* address, const std::byte* host, std::int64_t bytes);

/// Copies to the host and returns when the bytes are there: after everything enqueued before.
void download(const Device& device, std::byte* host, const std::byte* address, std::int64_t bytes);

}  // namespace ghost::cuda
