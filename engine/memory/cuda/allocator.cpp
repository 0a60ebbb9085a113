#include "engine/memory/cuda/allocator.h"

#include <set>

#include "engine/device/cuda/stream.h"
#include "engine/memory/caching_allocator.h"

namespace ghost::cuda {
namespace {

class CudaAllocator final : public CachingAllocator {
 public:
  explicit CudaAllocator(const Device& device) : CachingAllocator(device) {
    GHOST_CHECK(device.index < num_devices(), "there is no {}; expected {}", device.name(),
                expected_devices());
  }
  ~CudaAllocator() override {
    // Waits for the device. What fails at the end of a process has nobody to tell.
    cudaSetDevice(device().index);
    for (std::byte* segment : segments_) {
      cudaFree(segment);
    }
  }

 private:
  std::byte* allocate_segment(std::int64_t bytes) override {
    check(cudaSetDevice(device().index), "cudaSetDevice");
    void* address = nullptr;
    const cudaError_t status = cudaMalloc(&address, static_cast<std::size_t>(bytes));
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // told by the caller, and no error of a later call
      return nullptr;
    }
    check(status, "cudaMalloc");
    segments_.insert(static_cast<std::byte*>(address));
    return static_cast<std::byte*>(address);
  }

  void release_segment(std::byte* address, std::int64_t /*bytes*/) override {
    check(cudaFree(address), "cudaFree");
    segments_.erase(address);
  }

  std::set<std::byte*> segments_;
};

}  // namespace

std::shared_ptr<Allocator> make_allocator(const Device& device) {
  return std::make_shared<CudaAllocator>(device);
}

}  // namespace ghost::cuda
