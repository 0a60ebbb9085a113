#include "engine/memory/allocator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "engine/core/error.h"
#include "engine/memory/caching_allocator.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

constexpr auto kTag = MemoryTag::kWorkspace;
constexpr std::int64_t kMiB = std::int64_t{1} << 20;

// A caching allocator whose system has little memory and counts every segment.
class SmallSystem final : public CachingAllocator {
 public:
  explicit SmallSystem(std::int64_t limit) : CachingAllocator(Device{}), limit_(limit) {}

  std::map<std::byte*, std::int64_t> segments;

 private:
  std::byte* allocate_segment(std::int64_t bytes) override {
    if (reserved_bytes() + bytes > limit_) {
      return nullptr;
    }
    memory_.push_back(std::make_unique<std::byte[]>(static_cast<std::size_t>(bytes + 64)));
    auto address = reinterpret_cast<std::uintptr_t>(memory_.back().get());
    auto* aligned = reinterpret_cast<std::byte*>((address + 63) / 64 * 64);
    segments[aligned] = bytes;
    return aligned;
  }

  void release_segment(std::byte* address, std::int64_t bytes) override {
    REQUIRE(segments.at(address) == bytes);
    segments.erase(address);
  }

  std::int64_t limit_;
  std::vector<std::unique_ptr<std::byte[]>> memory_;
};

TEST_CASE("bytes are metered in units of the alignment", "[memory]") {
  CHECK(metered_bytes(0) == 64);
  CHECK(metered_bytes(1) == 64);
  CHECK(metered_bytes(64) == 64);
  CHECK(metered_bytes(65) == 128);
}

TEST_CASE("the allocator meters, aligns and keeps blocks apart", "[memory]") {
  const auto allocator = make_allocator(Device{});
  std::vector<std::byte*> blocks;
  for (const std::int64_t bytes : {std::int64_t{0}, std::int64_t{1}, std::int64_t{63},
                                   std::int64_t{1000}, kMiB - 64, kMiB, 5 * kMiB + 1}) {
    std::byte* block = allocator->allocate(bytes, kTag);
    CHECK(reinterpret_cast<std::uintptr_t>(block) % 64 == 0);
    std::memset(block, 0xff, static_cast<std::size_t>(bytes));
    blocks.push_back(block);
  }
  std::sort(blocks.begin(), blocks.end());
  CHECK(std::adjacent_find(blocks.begin(), blocks.end()) == blocks.end());
  CHECK(allocator->meter().current(kTag) ==
        64 + 64 + 64 + 1024 + (kMiB - 64) + kMiB + (5 * kMiB + 64));
}

TEST_CASE("freed memory is used again", "[memory]") {
  const auto allocator = make_allocator(Device{});
  std::byte* first = allocator->allocate(3 * kMiB, kTag);
  allocator->release(first, 3 * kMiB, kTag);
  CHECK(allocator->meter().current(kTag) == 0);
  CHECK(allocator->allocate(3 * kMiB, MemoryTag::kBatch) == first);
  CHECK(allocator->num_system_allocations() == 1);
  CHECK(allocator->reserved_bytes() == 4 * kMiB);
}

TEST_CASE("freed neighbours merge into one block", "[memory]") {
  // Whichever of three neighbours goes last, the whole segment is whole again.
  for (const auto& order :
       {std::array{0, 1, 2}, std::array{0, 2, 1}, std::array{2, 1, 0}, std::array{1, 0, 2}}) {
    SmallSystem allocator(6 * kMiB);
    std::array<std::byte*, 3> blocks{};
    std::byte* whole = allocator.allocate(6 * kMiB, kTag);
    allocator.release(whole, 6 * kMiB, kTag);
    for (std::byte*& block : blocks) {
      block = allocator.allocate(2 * kMiB, kTag);
    }
    for (const int i : order) {
      allocator.release(blocks[static_cast<std::size_t>(i)], 2 * kMiB, kTag);
    }
    CHECK(allocator.allocate(6 * kMiB, kTag) == whole);
    CHECK(allocator.num_system_allocations() == 1);
    allocator.release(whole, 6 * kMiB, kTag);
  }
}

TEST_CASE("the best fitting free block is taken", "[memory]") {
  SmallSystem allocator(100 * kMiB);
  std::byte* large = allocator.allocate(8 * kMiB, kTag);
  std::byte* fence = allocator.allocate(2 * kMiB, kTag);
  std::byte* fitting = allocator.allocate(4 * kMiB, kTag);
  allocator.release(large, 8 * kMiB, kTag);
  allocator.release(fitting, 4 * kMiB, kTag);
  CHECK(allocator.allocate(3 * kMiB, kTag) == fitting);
  allocator.release(fitting, 3 * kMiB, kTag);
  allocator.release(fence, 2 * kMiB, kTag);
}

TEST_CASE("small requests do not splinter large segments", "[memory]") {
  SmallSystem allocator(100 * kMiB);
  std::byte* large = allocator.allocate(8 * kMiB, kTag);
  allocator.release(large, 8 * kMiB, kTag);
  std::byte* small = allocator.allocate(100, kTag);
  CHECK(allocator.allocate(8 * kMiB, kTag) == large);
  CHECK(allocator.num_system_allocations() == 2);
  allocator.release(small, 100, kTag);
  allocator.release(large, 8 * kMiB, kTag);
}

TEST_CASE("a repeated step asks the system for nothing", "[memory]") {
  const auto allocator = make_allocator(Device{});
  std::mt19937 random(1);
  std::vector<std::int64_t> sizes(60);
  for (std::int64_t& size : sizes) {
    size = static_cast<std::int64_t>(random() % (3 * kMiB));
  }
  const auto step = [&] {
    std::vector<std::byte*> blocks;
    for (const std::int64_t size : sizes) {
      blocks.push_back(allocator->allocate(size, kTag));
    }
    for (std::size_t i = 0; i < blocks.size(); i += 2) {
      allocator->release(blocks[i], sizes[i], kTag);
    }
    for (std::size_t i = 1; i < blocks.size(); i += 2) {
      allocator->release(blocks[i], sizes[i], kTag);
    }
  };
  step();
  const std::int64_t system_allocations = allocator->num_system_allocations();
  for (int i = 0; i < 10; ++i) {
    step();
  }
  CHECK(allocator->num_system_allocations() == system_allocations);
}

// Random traffic against a map of what is in use. Every block is filled with its own byte, which
// must still be there when it is released.
TEST_CASE("random traffic never overlaps and merges back", "[memory]") {
  struct Live {
    std::int64_t bytes;
    unsigned char mark;
    MemoryTag tag;
  };
  for (const std::uint32_t seed : {1U, 2U, 3U}) {
    SmallSystem allocator(std::int64_t{1} << 40);
    std::mt19937 random(seed);
    std::map<std::byte*, Live> live;
    BytesPerTag expected{};
    bool is_sound = true;
    const auto release_one = [&] {
      auto chosen = std::next(live.begin(), static_cast<std::ptrdiff_t>(random() % live.size()));
      const auto& [address, block] = *chosen;
      for (const std::int64_t at : {std::int64_t{0}, block.bytes / 2, block.bytes - 1}) {
        is_sound = is_sound && address[at] == static_cast<std::byte>(block.mark);
      }
      expected[static_cast<std::size_t>(block.tag)] -= metered_bytes(block.bytes);
      allocator.release(address, block.bytes, block.tag);
      live.erase(chosen);
    };
    for (int i = 0; i < 3000; ++i) {
      if (live.size() > 40 || (!live.empty() && random() % 2 == 0)) {
        release_one();
        continue;
      }
      const std::int64_t limit = random() % 8 == 0 ? 6 * kMiB : 40000;
      const Live block{.bytes = 1 + static_cast<std::int64_t>(random()) % limit,
                       .mark = static_cast<unsigned char>(random()),
                       .tag = static_cast<MemoryTag>(random() % kNumMemoryTags)};
      std::byte* address = allocator.allocate(block.bytes, block.tag);
      const auto after = live.lower_bound(address);
      is_sound = is_sound && (after == live.end() || address + block.bytes <= after->first);
      is_sound = is_sound && (after == live.begin() ||
                              std::prev(after)->first + std::prev(after)->second.bytes <= address);
      for (const std::int64_t at : {std::int64_t{0}, block.bytes / 2, block.bytes - 1}) {
        address[at] = static_cast<std::byte>(block.mark);
      }
      expected[static_cast<std::size_t>(block.tag)] += metered_bytes(block.bytes);
      live.emplace(address, block);
      for (int tag = 0; tag < kNumMemoryTags; ++tag) {
        is_sound = is_sound && allocator.meter().current(static_cast<MemoryTag>(tag)) ==
                                   expected[static_cast<std::size_t>(tag)];
      }
      if (!is_sound) {
        break;
      }
    }
    REQUIRE(is_sound);
    while (!live.empty()) {
      release_one();
    }
    CHECK(is_sound);
    CHECK(allocator.meter().total_current() == 0);

    // Every segment is one free block again: asking for all of them takes nothing new.
    const std::int64_t system_allocations = allocator.num_system_allocations();
    std::map<std::byte*, std::int64_t> sizes;
    for (const auto& [address, bytes] : allocator.segments) {
      if (bytes == 2 * kMiB) {
        continue;  // small segments serve small requests only
      }
      sizes[allocator.allocate(bytes, kTag)] = bytes;
    }
    CHECK(allocator.num_system_allocations() == system_allocations);
    for (const auto& [address, bytes] : sizes) {
      CHECK(allocator.segments.count(address) == 1);
      allocator.release(address, bytes, kTag);
    }
  }
}

TEST_CASE("a dry allocator meters without memory", "[memory]") {
  const auto allocator = make_allocator({.is_dry = true});
  CHECK(allocator->allocate(std::int64_t{1} << 50, kTag) == nullptr);
  CHECK(allocator->meter().current(kTag) == std::int64_t{1} << 50);
  CHECK(allocator->num_system_allocations() == 0);
  CHECK(allocator->reserved_bytes() == 0);
  allocator->release(nullptr, std::int64_t{1} << 50, kTag);
  CHECK(allocator->meter().total_current() == 0);
}

TEST_CASE("out of memory names device, size, tag and the largest tags", "[memory]") {
  SmallSystem allocator(8 * kMiB);
  std::byte* held = allocator.allocate(5 * kMiB, MemoryTag::kResiduals);
  CHECK_THROWS_WITH(allocator.allocate(4 * kMiB, kTag),
                    "out of memory on cpu: asked for 4.0 MiB (workspace), 6.0 MiB reserved; "
                    "largest: residuals 5.0 MiB, parameters 0.0 MiB");
  CHECK(allocator.meter().current(kTag) == 0);
  std::byte* after = allocator.allocate(2 * kMiB, kTag);  // what fits still works
  allocator.release(after, 2 * kMiB, kTag);
  allocator.release(held, 5 * kMiB, MemoryTag::kResiduals);
}

TEST_CASE("segments without a block in use go back when the system has no more", "[memory]") {
  SmallSystem allocator(8 * kMiB);
  std::byte* held = allocator.allocate(2 * kMiB, kTag);
  std::byte* first = allocator.allocate(4 * kMiB, kTag);
  std::byte* small = allocator.allocate(64, kTag);
  allocator.release(first, 4 * kMiB, kTag);
  allocator.release(small, 64, kTag);
  std::byte* large = allocator.allocate(6 * kMiB, kTag);  // larger than any free block
  CHECK(allocator.segments.size() == 2);
  CHECK(allocator.reserved_bytes() == 8 * kMiB);
  CHECK(allocator.num_system_allocations() == 4);
  CHECK(allocator.meter().total_current() == 8 * kMiB);
  allocator.release(large, 6 * kMiB, kTag);
  allocator.release(held, 2 * kMiB, kTag);
}

TEST_CASE("release refuses memory that is not in use", "[memory]") {
  const auto allocator = make_allocator(Device{});
  std::byte* block = allocator->allocate(64, kTag);
  CHECK_THROWS_WITH(allocator->release(block + 64, 64, kTag),
                    "release of memory that cpu did not allocate");
  allocator->release(block, 64, kTag);
  CHECK_THROWS_WITH(allocator->release(block, 64, kTag),
                    "release of memory that cpu did not allocate");
}

}  // namespace
}  // namespace ghost
