#include "engine/device/cuda/staging.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <mutex>

#include "engine/device/cuda/stream.h"

namespace ghost::cuda {
namespace {

// One transfer of 4 MiB reaches the speed of the bus; eight of them let the host prepare batches
// while the device works.
constexpr std::int64_t kSlotBytes = std::int64_t{4} << 20;
constexpr std::int64_t kNumSlots = 8;

class Ring {
 public:
  explicit Ring(const Device& device) : stream_(stream_of(device)) {
    void* memory = nullptr;
    check(cudaHostAlloc(&memory, kSlotBytes * kNumSlots, cudaHostAllocDefault), "cudaHostAlloc");
    for (std::int64_t i = 0; i < kNumSlots; ++i) {
      Slot& slot = slots_[static_cast<std::size_t>(i)];
      slot.memory = static_cast<std::byte*>(memory) + i * kSlotBytes;
      check(cudaEventCreateWithFlags(&slot.done, cudaEventDisableTiming), "cudaEventCreate");
    }
  }

  void upload(std::byte* address, const std::byte* host, std::int64_t bytes) {
    const std::lock_guard lock(mutex_);
    for (std::int64_t at = 0; at < bytes; at += kSlotBytes) {
      const auto size = static_cast<std::size_t>(std::min(kSlotBytes, bytes - at));
      Slot& slot = next_slot();
      wait(slot);
      std::memcpy(slot.memory, host + at, size);
      check(cudaMemcpyAsync(address + at, slot.memory, size, cudaMemcpyHostToDevice, stream_),
            "cudaMemcpyAsync to the device");
      check(cudaEventRecord(slot.done, stream_), "cudaEventRecord");
    }
  }

  void download(std::byte* host, const std::byte* address, std::int64_t bytes) {
    const std::lock_guard lock(mutex_);
    const auto size_at = [&](std::int64_t at) {
      return static_cast<std::size_t>(std::min(kSlotBytes, bytes - at));
    };
    // Bytes [finished, enqueued) are in the ring, the oldest slot first.
    std::array<Slot*, kNumSlots> pending{};
    std::int64_t finished = 0;
    for (std::int64_t enqueued = 0; finished < bytes;) {
      const bool has_room = enqueued - finished < kNumSlots * kSlotBytes;
      if (enqueued < bytes && has_room) {
        Slot& slot = next_slot();  // an upload from it comes before in the stream
        check(cudaMemcpyAsync(slot.memory, address + enqueued, size_at(enqueued),
                              cudaMemcpyDeviceToHost, stream_),
              "cudaMemcpyAsync to the host");
        check(cudaEventRecord(slot.done, stream_), "cudaEventRecord");
        pending[static_cast<std::size_t>(enqueued / kSlotBytes % kNumSlots)] = &slot;
        enqueued += kSlotBytes;
        continue;
      }
      Slot& slot = *pending[static_cast<std::size_t>(finished / kSlotBytes % kNumSlots)];
      wait(slot);
      std::memcpy(host + finished, slot.memory, size_at(finished));
      finished += kSlotBytes;
    }
  }

 private:
  struct Slot {
    std::byte* memory = nullptr;
    cudaEvent_t done = nullptr;  // the last copy from or to it
  };

  Slot& next_slot() { return slots_[next_++ % kNumSlots]; }
  static void wait(const Slot& slot) {
    check(cudaEventSynchronize(slot.done), "cudaEventSynchronize");
  }

  cudaStream_t stream_;
  std::mutex mutex_;
  std::array<Slot, kNumSlots> slots_;
  std::size_t next_ = 0;
};

/// Never destroyed: at the end of a process the driver may be gone before its objects are.
Ring& ring_of(const Device& device) {
  static std::mutex mutex;
  static std::array<Ring*, kMostDevices> rings{};
  stream_of(device);  // checks the device and makes it the thread's current one
  const std::lock_guard lock(mutex);
  Ring*& ring = rings[static_cast<std::size_t>(device.index)];
  if (ring == nullptr) {
    ring = std::make_unique<Ring>(device).release();
  }
  return *ring;
}

}  // namespace

void upload(const Device& device, std::byte* address, const std::byte* host, std::int64_t bytes) {
  ring_of(device).upload(address, host, bytes);
}

void download(const Device& device, std::byte* host, const std::byte* address, std::int64_t bytes) {
  ring_of(device).download(host, address, bytes);
}

}  // namespace ghost::cuda
