#pragma once

#include "engine/comm/communicator.h"

namespace ghost::test {

// What every communicator has to do. Each runs on all ranks of a group at once and throws
// ghost::Error on the ranks where something is wrong: Catch's assertions are not for threads.

void check_send_recv(Communicator& comm);
void check_broadcast(Communicator& comm);
void check_all_gather(Communicator& comm);
/// Sums in f32, f64 and bf16, from one element to more than go in one round: every bit as the sum
/// in rank order, on every rank; and again the same.
void check_all_reduce(Communicator& comm);
void check_reduce(Communicator& comm);
void check_barrier(Communicator& comm);
/// The numbers of communicator.h for every operation.
void check_counts(Communicator& comm);
/// A grid of 2 x size / 2 ranks (where the size is even), order by key, groups of one.
void check_split(Communicator& comm);

/// All of them.
void check_communicator(Communicator& comm);

}  // namespace ghost::test
