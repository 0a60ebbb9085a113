#pragma once

#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "engine/memory/allocator.h"

namespace ghost {

/// Best-fit allocator over large segments. Freed blocks merge with their neighbours and are used
/// again within and across steps; segments go back to the system with the allocator, or once
/// nothing in them is in use and the system has no more. Requests below 1 MiB have segments of
/// their own, so that they do not splinter the large ones.
class CachingAllocator : public Allocator {
 public:
  std::byte* allocate(std::int64_t bytes, MemoryTag tag) override;
  void release(std::byte* address, std::int64_t bytes, MemoryTag tag) override;

 protected:
  explicit CachingAllocator(Device device) : Allocator(device) {}

  /// One segment from the system; null when there is none to be had.
  virtual std::byte* allocate_segment(std::int64_t bytes) = 0;
  /// Gives one segment back to the system.
  virtual void release_segment(std::byte* address, std::int64_t bytes) = 0;

 private:
  struct Block {
    std::byte* address = nullptr;
    std::int64_t size = 0;
    bool is_free = false;
    bool is_small = false;      // in a segment for small requests
    Block* previous = nullptr;  // neighbours in the same segment; a free block without is all of it
    Block* next = nullptr;
  };
  struct BySizeThenAddress {
    bool operator()(const Block* a, const Block* b) const {
      return a->size != b->size ? a->size < b->size : a->address < b->address;
    }
  };
  using FreeBlocks = std::set<Block*, BySizeThenAddress>;

  FreeBlocks& pool_of(const Block& block) { return block.is_small ? small_ : large_; }
  Block* take_best_fit(std::int64_t size);
  Block* add_segment(std::int64_t size, MemoryTag tag);
  bool release_free_segments();
  void split(Block* block, std::int64_t size);
  Block* merge_with_free_neighbours(Block* block);
  Block* new_block();
  void recycle(Block* block);

  FreeBlocks small_;
  FreeBlocks large_;
  std::unordered_map<std::byte*, Block*> in_use_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<Block*> spare_blocks_;
};

}  // namespace ghost
