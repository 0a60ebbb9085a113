#pragma once

#include <memory>

#include "engine/comm/communicator.h"
#include "tools/run/run_config.h"

namespace ghost {

/// All ranks of the job that started this process; this one alone without a launcher. Once a
/// process. Throws ghost::ConfigError under a launcher when this build has no MPI.
std::unique_ptr<Communicator> make_world(const ParallelConfig& config);

}  // namespace ghost
