#include "tools/run/threads.h"

#include <omp.h>

namespace ghost {

void set_threads(std::int64_t threads) {
  omp_set_num_threads(threads > 0 ? static_cast<int>(threads) : omp_get_num_procs());
}

}  // namespace ghost
