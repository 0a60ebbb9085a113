#pragma once

#include <memory>

#include "engine/comm/communicator.h"
#include "engine/comm/rendezvous.h"

namespace ghost {

#ifdef GHOST_HAS_NCCL
inline constexpr bool kHasNccl = true;
#else
inline constexpr bool kHasNccl = false;
#endif

// One rank a GPU; NCCL refuses two. Elements go from GPU to GPU, tensors of the host through the
// GPU's memory. Operations are enqueued on the device's stream and return; a barrier waits. Sums
// are those of every communicator, in rank order: pieces are exchanged and added by a kernel of
// ours, as ncclAllReduce adds in an order that depends on the machine.
//
// A thread watches what is enqueued. When an operation takes longer than the timeout or NCCL
// reports an error, it ends NCCL's kernels, and the next operation or barrier throws ghost::Error
// naming rank and operation; the peer too where there is only one, as NCCL does not tell which is
// late. NCCL cannot see that ranks are in different operations.
//
// Only in builds with CUDA and NCCL.

/// The ranks of `bootstrap` (MPI, as a rule), over NCCL. Collective.
std::unique_ptr<Communicator> make_nccl_group(Communicator& bootstrap, const Device& device,
                                              CommOptions options);

/// Ranks that meet at `at`.
std::unique_ptr<Communicator> make_nccl_world(const Rendezvous& at, const Device& device,
                                              CommOptions options);

}  // namespace ghost
