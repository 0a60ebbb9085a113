#pragma once

#include <memory>

#include "engine/comm/communicator.h"

namespace ghost {

#ifdef GHOST_HAS_MPI
inline constexpr bool kHasMpi = true;
#else
inline constexpr bool kHasMpi = false;
#endif

/// Whether a launcher of MPI jobs (mpirun, srun) started this process. Asks the environment, not
/// MPI, which nobody could start a second time.
bool is_mpi_job();

/// All ranks of the job, one a process: `mpirun -n 4 ghostgrad ...`; one rank without a launcher.
/// Starts MPI; the last of the communicators split off it ends it again, so this can be called once
/// a process. Communicators of different threads can work at the same time where MPI allows
/// (MPI_THREAD_MULTIPLE). Tensors of a GPU are copied through host memory, so that ranks can share
/// one. Where an error unwinds the stack MPI is not ended: the launcher sees a rank that left and
/// ends the others. Only in builds with MPI.
std::unique_ptr<Communicator> make_mpi_world(CommOptions options);

}  // namespace ghost
