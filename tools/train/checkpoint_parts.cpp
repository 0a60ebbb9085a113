#include "tools/train/checkpoint_parts.h"

#include <cstring>

namespace ghost {
namespace {

constexpr std::int64_t kMaxName = 64;
constexpr std::int64_t kDigest = 64;

/// A file's facts as bytes that ranks can send each other.
struct Record {
  char name[kMaxName] = {};
  std::uint64_t bytes = 0;
  char sha256[kDigest] = {};
};

}  // namespace

std::vector<CheckpointFile> files_of_all(RankGrid& grid, std::span<const CheckpointFile> own) {
  const auto num_own = static_cast<std::int64_t>(own.size());
  const auto record_bytes = static_cast<std::int64_t>(sizeof(Record));
  const std::shared_ptr<Allocator> host = make_allocator(Device{});
  const Tensor sent(host, {num_own * record_bytes}, DType::kU8, MemoryTag::kComm);
  const Tensor all(host, {grid.num_region_ranks(), num_own * record_bytes}, DType::kU8,
                   MemoryTag::kComm);
  for (std::int64_t i = 0; i < num_own; ++i) {
    const CheckpointFile& file = own[static_cast<std::size_t>(i)];
    Record record{.bytes = file.bytes};
    file.name.copy(record.name, kMaxName - 1);
    file.sha256.copy(record.sha256, kDigest);
    std::memcpy(sent.raw() + i * record_bytes, &record, sizeof(record));
  }
  Communicator& comm = grid.bulk();
  grid.count(MessageKind::kControl, comm, [&] { comm.all_gather(sent, all); });
  std::vector<CheckpointFile> files;
  for (std::int64_t i = 0; i < num_own * grid.num_region_ranks(); ++i) {
    Record record;
    std::memcpy(&record, all.raw() + i * record_bytes, sizeof(record));
    files.push_back({.name = record.name,
                     .bytes = record.bytes,
                     .sha256 = std::string(record.sha256, kDigest)});
  }
  return files;
}

}  // namespace ghost
