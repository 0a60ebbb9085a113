#include "engine/comm/nccl/nccl_communicator.h"

#include <cstring>
#include <utility>

#include "engine/comm/nccl/nccl_handle.h"
#include "engine/device/cuda/stream.h"

namespace ghost {
namespace {

using cuda::check_nccl;

std::size_t count_of(std::int64_t bytes) { return static_cast<std::size_t>(bytes); }

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(std::unique_ptr<cuda::NcclHandle> handle, int rank, int size,
                   const Device& device, CommOptions options, std::string name)
      : Communicator(std::move(name), rank, size, std::move(options), device),
        handle_(std::move(handle)),
        gpu_(device) {}

 private:
  template <typename Enqueue>
  void run(const std::string& what, Enqueue enqueue) {
    handle_->run(what, options().timeout, std::move(enqueue));
  }

  // Bytes, not elements: sums are made elsewhere.
  void exchange(const Exchange& exchange) override {
    std::string what = who(exchange.op);
    if (exchange.sends.size() + exchange.recvs.size() == 1) {
      what += exchange.sends.empty() ? fmt::format(", from rank {},", exchange.recvs[0].peer)
                                     : fmt::format(", to rank {},", exchange.sends[0].peer);
    }
    run(what, [&](ncclComm_t comm, cudaStream_t stream) {
      check_nccl(ncclGroupStart(), "ncclGroupStart");
      for (const Piece& piece : exchange.sends) {
        check_nccl(ncclSend(piece.data, count_of(piece.bytes), ncclUint8, piece.peer, comm, stream),
                   "ncclSend");
      }
      for (const Piece& piece : exchange.recvs) {
        check_nccl(ncclRecv(piece.data, count_of(piece.bytes), ncclUint8, piece.peer, comm, stream),
                   "ncclRecv");
      }
      check_nccl(ncclGroupEnd(), "ncclGroupEnd");
    });
  }

  void broadcast_bytes(const Tensor& x, int root) override {
    run(who(CommOp::kBroadcast), [&](ncclComm_t comm, cudaStream_t stream) {
      check_nccl(
          ncclBroadcast(x.raw(), x.raw(), count_of(x.bytes()), ncclUint8, root, comm, stream),
          "ncclBroadcast");
    });
  }

  void all_gather_bytes(CommOp op, const Tensor& x, const Tensor& out) override {
    run(who(op), [&](ncclComm_t comm, cudaStream_t stream) {
      check_nccl(ncclAllGather(x.raw(), out.raw(), count_of(x.bytes()), ncclUint8, comm, stream),
                 "ncclAllGather");
    });
  }

  void wait_for_all() override {
    Communicator::wait_for_all();
    cuda::check(cudaStreamSynchronize(handle_->stream()), "cudaStreamSynchronize");
    confirm();
  }

  void confirm() override { handle_->throw_failure(); }

  std::unique_ptr<Communicator> make_group(const Group& group) override {
    ncclComm_t part = nullptr;
    run(who(CommOp::kSplit), [&](ncclComm_t comm, cudaStream_t /*stream*/) {
      ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
      config.blocking = 0;
      check_nccl(ncclCommSplit(comm, group.colour, group.rank, &part, &config), "ncclCommSplit");
    });
    auto handle = std::make_unique<cuda::NcclHandle>(part, gpu_, options().timeout);
    return std::make_unique<NcclCommunicator>(std::move(handle), group.rank,
                                              static_cast<int>(group.members.size()), gpu_,
                                              options(), group.name);
  }

  std::unique_ptr<cuda::NcclHandle> handle_;
  Device gpu_;
};

std::unique_ptr<Communicator> join(const ncclUniqueId& id, int rank, int size, const Device& device,
                                   CommOptions options, std::string name) {
  auto handle = std::make_unique<cuda::NcclHandle>(id, rank, size, device, options.timeout);
  return std::make_unique<NcclCommunicator>(std::move(handle), rank, size, device,
                                            std::move(options), std::move(name));
}

void check_device(const Device& device) {
  GHOST_CHECK(device.is_cuda(), "NCCL moves what lies on a GPU; the device is {}", device.name());
}

}  // namespace

std::unique_ptr<Communicator> make_nccl_group(Communicator& bootstrap, const Device& device,
                                              CommOptions options) {
  check_device(device);
  const Tensor bytes(make_allocator(Device{}), {NCCL_UNIQUE_ID_BYTES}, DType::kU8,
                     MemoryTag::kComm);
  ncclUniqueId id{};
  if (bootstrap.rank() == 0) {
    id = cuda::make_unique_id();
    std::memcpy(bytes.raw(), &id, sizeof(id));
  }
  bootstrap.broadcast(bytes, 0);
  std::memcpy(&id, bytes.raw(), sizeof(id));
  return join(id, bootstrap.rank(), bootstrap.size(), device, std::move(options), bootstrap.name());
}

std::unique_ptr<Communicator> make_nccl_world(const Rendezvous& at, const Device& device,
                                              CommOptions options) {
  check_device(device);
  ncclUniqueId id{};
  if (at.rank == 0) {
    id = cuda::make_unique_id();
  }
  share_from_first(at, std::as_writable_bytes(std::span(&id, 1)), options.timeout);
  return join(id, at.rank, at.size, device, std::move(options), "world");
}

}  // namespace ghost
