#pragma once

#include <memory>

#include "engine/comm/communicator.h"
#include "engine/comm/rendezvous.h"
#include "tools/run/run_config.h"

namespace ghost {

/// All ranks of the job that started this process; this one alone without a launcher.
class World {
 public:
  World(std::unique_ptr<Communicator> launched, std::unique_ptr<Communicator> faster)
      : launched_(std::move(launched)), faster_(std::move(faster)) {}

  Communicator& ranks() { return faster_ != nullptr ? *faster_ : *launched_; }

 private:
  std::unique_ptr<Communicator> launched_;  // lives as long as the job: the launcher watches it
  std::unique_ptr<Communicator> faster_;    // null: messages go through `launched_`
};

/// Once a process. Ranks are those of MPI's launcher or, on GPUs, of a launcher that sets RANK and
/// WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Messages go over NCCL where the device is a GPU that no
/// other rank uses, unless `parallel.transport` says otherwise; else over MPI. Throws
/// ghost::ConfigError under a launcher that this build or device cannot join.
World make_world(const ParallelConfig& config, const Device& device);

/// The device that `text` names for this rank: `cuda` without a number is the GPU of its rank on
/// this machine, counted round. `variable` looks up launchers' LOCAL_RANK and the like. Throws as
/// parse_device.
Device rank_device(std::string_view text, const Lookup& variable);
/// The same with this process's environment.
Device rank_device(std::string_view text);

}  // namespace ghost
