#include "tools/run/world.h"

#include "engine/comm/mpi/mpi_communicator.h"
#include "engine/comm/self_communicator.h"

namespace ghost {

std::unique_ptr<Communicator> make_world(const ParallelConfig& config) {
  const CommOptions options{
      .timeout = std::chrono::milliseconds(static_cast<std::int64_t>(config.timeout_s * 1e3))};
  if (!is_mpi_job()) {
    return std::make_unique<SelfCommunicator>(options);
  }
  if constexpr (kHasMpi) {
    return make_mpi_world(options);
  } else {
    fail<ConfigError>(
        "this build has no MPI and was started by a launcher of ranks; expected one "
        "process");
  }
}

}  // namespace ghost
