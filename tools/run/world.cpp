#include "tools/run/world.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string>
#include <unistd.h>

#include "engine/comm/mpi/mpi_communicator.h"
#include "engine/comm/nccl/nccl_communicator.h"
#include "engine/comm/self_communicator.h"
#include "engine/device/cuda/devices.h"

namespace ghost {
namespace {

constexpr std::int64_t kPlaceBytes = 256;

int num_gpus() {
  if constexpr (kHasCuda) {
    return cuda::num_devices();
  } else {
    return 0;
  }
}

/// Whether another rank uses the same GPU of the same machine. Collective.
bool shares_gpu(Communicator& ranks, const Device& device) {
  const std::shared_ptr<Allocator> host = make_allocator(Device{});
  const Tensor own(host, {kPlaceBytes}, DType::kU8, MemoryTag::kComm);
  const Tensor all(host, {ranks.size(), kPlaceBytes}, DType::kU8, MemoryTag::kComm);
  char machine[kPlaceBytes - 16] = {};
  gethostname(machine, sizeof(machine) - 1);
  std::memset(own.raw(), 0, kPlaceBytes);
  const std::string place = fmt::format("{} {}", device.index, machine);
  std::memcpy(own.raw(), place.data(), place.size());
  ranks.all_gather(own, all);
  for (int a = 0; a < ranks.size(); ++a) {
    for (int b = 0; b < a; ++b) {
      if (std::memcmp(all.raw() + a * kPlaceBytes, all.raw() + b * kPlaceBytes, kPlaceBytes) == 0) {
        return true;
      }
    }
  }
  return false;
}

std::unique_ptr<Communicator> nccl_group(Communicator& launched, const Device& device,
                                         const CommOptions& options) {
  if constexpr (kHasNccl) {
    return make_nccl_group(launched, device, options);
  } else {
    return nullptr;
  }
}

std::unique_ptr<Communicator> nccl_world(const Rendezvous& at, const Device& device,
                                         const CommOptions& options) {
  if constexpr (kHasNccl) {
    if (device.is_cuda()) {
      return make_nccl_world(at, device, options);
    }
  }
  fail<ConfigError>(
      "RANK and WORLD_SIZE say that this is rank {} of {}, which takes {}; expected mpirun, or one "
      "process",
      at.rank, at.size, kHasNccl ? "device: cuda" : "a build with CUDA and NCCL");
}

std::unique_ptr<Communicator> over_mpi(const CommOptions& options) {
  if constexpr (kHasMpi) {
    return make_mpi_world(options);
  } else {
    fail<ConfigError>(
        "this build has no MPI and was started by a launcher of ranks; expected one "
        "process");
  }
}

bool uses_nccl(Transport transport, Communicator& launched, const Device& device) {
  if (transport == Transport::kMpi || launched.size() == 1) {
    return false;
  }
  const bool can = kHasNccl && device.is_cuda() && !shares_gpu(launched, device);
  if (transport == Transport::kNccl && !can) {
    fail<ConfigError>("parallel.transport is nccl; expected auto or mpi where {}",
                      !kHasNccl           ? "the build has no NCCL"
                      : !device.is_cuda() ? "device is cpu"
                                          : "ranks share a GPU");
  }
  return can;
}

}  // namespace

World make_world(const ParallelConfig& config, const Device& device) {
  const CommOptions options{
      .timeout = std::chrono::milliseconds(static_cast<std::int64_t>(config.timeout_s * 1e3))};
  if (is_mpi_job()) {
    std::unique_ptr<Communicator> launched = over_mpi(options);
    auto faster = uses_nccl(config.transport, *launched, device)
                      ? nccl_group(*launched, device, options)
                      : nullptr;
    return {std::move(launched), std::move(faster)};
  }
  const auto meeting = read_rendezvous([](const char* name) { return std::getenv(name); });
  if (meeting.has_value() && meeting->size > 1) {
    return {nccl_world(*meeting, device, options), nullptr};
  }
  return {std::make_unique<SelfCommunicator>(options), nullptr};
}

Device rank_device(std::string_view text, const Lookup& variable) {
  const Device first = parse_device(text);
  if (text != "cuda") {
    return first;
  }
  for (const char* name : {"LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID",
                           "PMI_LOCAL_RANK", "SLURM_LOCALID"}) {
    const char* value = variable(name);
    int local_rank = 0;
    if (value != nullptr &&
        std::from_chars(value, value + std::strlen(value), local_rank).ec == std::errc{}) {
      return parse_device(fmt::format("cuda:{}", local_rank % std::max(1, num_gpus())));
    }
  }
  return first;
}

Device rank_device(std::string_view text) {
  return rank_device(text, [](const char* name) { return std::getenv(name); });
}

}  // namespace ghost
