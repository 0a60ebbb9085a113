#include "engine/memory/caching_allocator.h"

#include <algorithm>
#include <array>
#include <string>

#include "engine/core/error.h"

namespace ghost {
namespace {

constexpr std::int64_t kAlignment = 64;
constexpr std::int64_t kSegmentUnit = std::int64_t{2} << 20;
constexpr std::int64_t kSmallLimit = std::int64_t{1} << 20;

std::int64_t round_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

std::string largest_tags(const MemoryMeter& meter) {
  std::array<MemoryTag, kNumMemoryTags> tags;
  for (int i = 0; i < kNumMemoryTags; ++i) {
    tags[static_cast<std::size_t>(i)] = static_cast<MemoryTag>(i);
  }
  std::sort(tags.begin(), tags.end(),
            [&](MemoryTag a, MemoryTag b) { return meter.current(a) > meter.current(b); });
  constexpr double kMiB = 1024.0 * 1024.0;
  return fmt::format("{} {:.1f} MiB, {} {:.1f} MiB", tag_name(tags[0]),
                     static_cast<double>(meter.current(tags[0])) / kMiB, tag_name(tags[1]),
                     static_cast<double>(meter.current(tags[1])) / kMiB);
}

}  // namespace

std::int64_t metered_bytes(std::int64_t bytes) {
  return round_up(std::max<std::int64_t>(bytes, 1), kAlignment);
}

std::byte* CachingAllocator::allocate(std::int64_t bytes, MemoryTag tag) {
  const std::int64_t size = metered_bytes(bytes);
  Block* block = take_best_fit(size);
  if (block == nullptr) {
    block = add_segment(size, tag);
  }
  split(block, size);
  block->is_free = false;
  in_use_.emplace(block->address, block);
  meter_.add(tag, size);
  return block->address;
}

void CachingAllocator::release(std::byte* address, std::int64_t bytes, MemoryTag tag) {
  const auto found = in_use_.find(address);
  GHOST_CHECK(found != in_use_.end(), "release of memory that {} did not allocate",
              device().name());
  Block* block = found->second;
  in_use_.erase(found);
  meter_.remove(tag, metered_bytes(bytes));
  block->is_free = true;
  block = merge_with_free_neighbours(block);
  pool_of(*block).insert(block);
}

CachingAllocator::Block* CachingAllocator::take_best_fit(std::int64_t size) {
  FreeBlocks& candidates = size < kSmallLimit ? small_ : large_;
  Block key{.address = nullptr, .size = size};
  const auto found = candidates.lower_bound(&key);
  if (found == candidates.end()) {
    return nullptr;
  }
  Block* block = *found;
  candidates.erase(found);
  return block;
}

CachingAllocator::Block* CachingAllocator::add_segment(std::int64_t size, MemoryTag tag) {
  const std::int64_t segment = round_up(size, kSegmentUnit);
  std::byte* address = allocate_segment(segment);
  if (address == nullptr && release_free_segments()) {
    address = allocate_segment(segment);
  }
  if (address == nullptr) {
    fail("out of memory on {}: asked for {:.1f} MiB ({}), {:.1f} MiB reserved; largest: {}",
         device().name(), static_cast<double>(size) / (1 << 20), tag_name(tag),
         static_cast<double>(reserved_bytes_) / (1 << 20), largest_tags(meter_));
  }
  Block* block = new_block();
  block->address = address;
  block->size = segment;
  block->is_small = size < kSmallLimit;
  reserved_bytes_ += segment;
  ++num_system_allocations_;
  return block;
}

bool CachingAllocator::release_free_segments() {
  bool has_released = false;
  for (FreeBlocks* pool : {&small_, &large_}) {
    for (auto at = pool->begin(); at != pool->end();) {
      Block* block = *at;
      if (block->previous != nullptr || block->next != nullptr) {
        ++at;
        continue;
      }
      at = pool->erase(at);
      release_segment(block->address, block->size);
      reserved_bytes_ -= block->size;
      recycle(block);
      has_released = true;
    }
  }
  return has_released;
}

void CachingAllocator::split(Block* block, std::int64_t size) {
  if (block->size == size) {
    return;
  }
  Block* rest = new_block();
  rest->address = block->address + size;
  rest->size = block->size - size;
  rest->is_free = true;
  rest->is_small = block->is_small;
  rest->previous = block;
  rest->next = block->next;
  if (rest->next != nullptr) {
    rest->next->previous = rest;
  }
  block->next = rest;
  block->size = size;
  pool_of(*rest).insert(rest);
}

CachingAllocator::Block* CachingAllocator::merge_with_free_neighbours(Block* block) {
  const auto absorb_next = [&](Block* left) {
    Block* right = left->next;
    left->size += right->size;
    left->next = right->next;
    if (left->next != nullptr) {
      left->next->previous = left;
    }
    recycle(right);
  };
  if (block->next != nullptr && block->next->is_free) {
    pool_of(*block).erase(block->next);
    absorb_next(block);
  }
  if (block->previous != nullptr && block->previous->is_free) {
    block = block->previous;
    pool_of(*block).erase(block);
    absorb_next(block);
  }
  return block;
}

CachingAllocator::Block* CachingAllocator::new_block() {
  if (spare_blocks_.empty()) {
    blocks_.push_back(std::make_unique<Block>());
    return blocks_.back().get();
  }
  Block* block = spare_blocks_.back();
  spare_blocks_.pop_back();
  *block = Block{};
  return block;
}

void CachingAllocator::recycle(Block* block) { spare_blocks_.push_back(block); }

}  // namespace ghost
