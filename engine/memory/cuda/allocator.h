#pragma once

#include <memory>

#include "engine/memory/allocator.h"

namespace ghost::cuda {

/// Memory of a CUDA device, cached in segments of cudaMalloc. Work on blocks runs on the device's
/// one stream, so that a freed block may be handed out again before the kernels that read it have
/// run. Throws ghost::Error when there is no such device.
std::shared_ptr<Allocator> make_allocator(const Device& device);

}  // namespace ghost::cuda
