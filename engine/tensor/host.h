#pragma once

#include <memory>

#include "engine/tensor/tensor.h"

namespace ghost {

// For whatever reads or writes elements on the host: files, sampling, error messages, tests.

/// The elements where the host can read them: x itself on a CPU or a dry device, else a copy, after
/// everything enqueued before.
Tensor on_host(const Tensor& x);

/// A place of x's shape and dtype where the host can write what `copy(x, place)` then brings to the
/// device: x itself on a CPU or a dry device, where that copy does nothing.
Tensor host_place(const Tensor& x);

/// The elements on the allocator's device: x itself where it is there already, else a copy.
Tensor to_device(const Tensor& x, const std::shared_ptr<Allocator>& allocator, MemoryTag tag);

}  // namespace ghost
