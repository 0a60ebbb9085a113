#include "models/rank_grid.h"

namespace ghost {
namespace {

/// All operations of a communicator together.
CommCount total(const Communicator& comm) {
  CommCount sum;
  for (int op = 0; op < kNumCommOps; ++op) {
    const CommCount& count = comm.count(static_cast<CommOp>(op));
    sum.calls += count.calls;
    sum.sent_bytes += count.sent_bytes;
    sum.received_bytes += count.received_bytes;
    sum.seconds += count.seconds;
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
  const CommCount after = total(comm);
  CommCount& count = counts_[static_cast<std::size_t>(kind)];
  count.calls += after.calls - before.calls;
  count.sent_bytes += after.sent_bytes - before.sent_bytes;
  count.received_bytes += after.received_bytes - before.received_bytes;
  count.seconds += after.seconds - before.seconds;
}

}  // namespace ghost
