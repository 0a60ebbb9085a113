#include "engine/memory/allocator.h"

#include <map>
#include <new>
#include <sys/mman.h>

#include "engine/core/error.h"
#include "engine/memory/caching_allocator.h"
#include "engine/memory/cuda/allocator.h"

namespace ghost {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

class CpuAllocator final : public CachingAllocator {
 public:
  CpuAllocator() : CachingAllocator(Device{}) {}
  ~CpuAllocator() override {
    for (const auto& [address, bytes] : segments_) {
      free_segment(address, bytes);
    }
  }

 private:
  std::byte* allocate_segment(std::int64_t bytes) override {
    const auto size = static_cast<std::size_t>(bytes);
    void* address = ::operator new (size, std::align_val_t{kHugePage}, std::nothrow);
    if (address == nullptr) {
      return nullptr;
    }
    // Advice only: where huge pages are off, small ones do.
    madvise(address, size, MADV_HUGEPAGE);
    segments_.emplace(static_cast<std::byte*>(address), bytes);
    return static_cast<std::byte*>(address);
  }

  void release_segment(std::byte* address, std::int64_t bytes) override {
    segments_.erase(address);
    free_segment(address, bytes);
  }

  static void free_segment(std::byte* address, std::int64_t bytes) {
    ::operator delete (address, static_cast<std::size_t>(bytes), std::align_val_t{kHugePage});
  }

  std::map<std::byte*, std::int64_t> segments_;
};

class DryAllocator final : public Allocator {
 public:
  explicit DryAllocator(const Device& device) : Allocator(device) {}
  std::byte* allocate(std::int64_t bytes, MemoryTag tag) override {
    meter_.add(tag, metered_bytes(bytes));
    return nullptr;
  }
  void release(std::byte* /*address*/, std::int64_t bytes, MemoryTag tag) override {
    meter_.remove(tag, metered_bytes(bytes));
  }
};

}  // namespace

std::shared_ptr<Allocator> make_allocator(const Device& device) {
  if (device.is_dry) {
    return std::make_shared<DryAllocator>(device);
  }
  switch (device.type) {
    case DeviceType::kCpu:
      return std::make_shared<CpuAllocator>();
    case DeviceType::kCuda:
      if constexpr (kHasCuda) {
        return cuda::make_allocator(device);
      }
      break;
  }
  fail("there is no allocator for {} in this build", device.name());
}

}  // namespace ghost
