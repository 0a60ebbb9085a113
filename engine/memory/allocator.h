#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "engine/device/device.h"
#include "engine/memory/memory_meter.h"

namespace ghost {

/// Memory of one device, metered. Addresses are aligned to 64 bytes.
class Allocator {
 public:
  virtual ~Allocator() = default;
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  /// At least `bytes` bytes, uninitialised. Throws ghost::Error naming device, size and tag when
  /// there is no memory left. A dry device returns null.
  virtual std::byte* allocate(std::int64_t bytes, MemoryTag tag) = 0;
  virtual void release(std::byte* address, std::int64_t bytes, MemoryTag tag) = 0;

  const Device& device() const { return device_; }
  MemoryMeter& meter() { return meter_; }
  const MemoryMeter& meter() const { return meter_; }

  /// Bytes taken from the system, in use or cached for reuse.
  std::int64_t reserved_bytes() const { return reserved_bytes_; }
  /// How often the system was asked for memory since the start; constant in steady state.
  std::int64_t num_system_allocations() const { return num_system_allocations_; }

 protected:
  explicit Allocator(Device device) : device_(device) {}

  MemoryMeter meter_;
  std::int64_t reserved_bytes_ = 0;
  std::int64_t num_system_allocations_ = 0;

 private:
  Device device_;
};

/// The allocator of a device; throws ghost::Error when the device does not exist.
std::shared_ptr<Allocator> make_allocator(const Device& device);

/// Bytes as the allocator counts them: rounded up to its alignment.
std::int64_t metered_bytes(std::int64_t bytes);

}  // namespace ghost
