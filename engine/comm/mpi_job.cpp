#include <cstdlib>

#include "engine/comm/mpi/mpi_communicator.h"

namespace ghost {

// Open MPI; MPICH, Intel MPI and srun's PMI; srun's PMIx.
bool is_mpi_job() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"}) {
    if (std::getenv(name) != nullptr) {
      return true;
    }
  }
  return false;
}

}  // namespace ghost
