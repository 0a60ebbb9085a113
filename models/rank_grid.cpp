#include "models/rank_grid.h"

#include <algorithm>
#include <vector>

namespace ghost {
namespace {

/// All operations of a communicator together.
CommCount total(const Communicator& comm) {
  CommCount sum;
  for (int op = 0; op < kNumCommOps; ++op) {
    sum += comm.count(static_cast<CommOp>(op));
  }
  return sum;
}

}  // namespace

RankGrid::RankGrid(Communicator& world, std::int64_t region_ranks) : world_(world) {
  if (region_ranks < 1 || world.size() % region_ranks != 0) {
    fail<ConfigError>("parallel.region_ranks is {}; expected a divisor of the {} ranks of the job",
                      region_ranks, world.size());
  }
  const int width = static_cast<int>(region_ranks);
  const int replica = world.rank() / width;
  const int region_rank = world.rank() % width;
  small_ = world.split(replica, region_rank, "regions");
  bulk_ = world.split(replica, region_rank, "regions.bulk");
  replicas_ = world.split(region_rank, replica, "replicas");
}

void RankGrid::count(MessageKind kind, const Communicator& comm,
                     const std::function<void()>& exchange) {
  const CommCount before = total(comm);
  exchange();
  CommCount& count = counts_[static_cast<std::size_t>(kind)];
  count += total(comm);
  count -= before;
}

void RankGrid::sum(MessageKind kind, Communicator& comm, std::span<double> numbers) {
  if (comm.size() == 1 || numbers.empty()) {
    return;
  }
  const auto count = static_cast<std::int64_t>(numbers.size());
  const Tensor x(make_allocator(Device{}), {count}, DType::kF64, MemoryTag::kComm);
  std::copy(numbers.begin(), numbers.end(), x.data<double>());
  this->count(kind, comm, [&] { comm.all_reduce(x); });
  std::copy_n(x.data<double>(), numbers.size(), numbers.begin());
}

MessageCounts counts_of_all(RankGrid& grid) {
  std::vector<double> numbers;
  for (const CommCount& count : grid.counts()) {
    numbers.insert(numbers.end(),
                   {static_cast<double>(count.calls), static_cast<double>(count.sent_bytes),
                    static_cast<double>(count.received_bytes), count.seconds});
  }
  grid.sum(MessageKind::kControl, grid.world(), numbers);
  MessageCounts all{};
  for (std::size_t kind = 0; kind < all.size(); ++kind) {
    const double* of_kind = numbers.data() + 4 * kind;
    all[kind] = {.calls = static_cast<std::int64_t>(of_kind[0]),
                 .sent_bytes = static_cast<std::int64_t>(of_kind[1]),
                 .received_bytes = static_cast<std::int64_t>(of_kind[2]),
                 .seconds = of_kind[3]};
  }
  return all;
}

}  // namespace ghost
