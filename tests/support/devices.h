#pragma once

#include <memory>
#include <vector>

#include "engine/memory/allocator.h"

namespace ghost::test {

/// Every CUDA device present. Says once a program, on stderr, that checks on them are skipped when
/// there is none.
const std::vector<Device>& cuda_devices();

/// The allocator that the tests of a thread share on a device: meters are not thread-safe.
const std::shared_ptr<Allocator>& shared_allocator(const Device& device);

}  // namespace ghost::test
