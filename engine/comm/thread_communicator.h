#pragma once

#include <functional>
#include <memory>
#include <string>

#include "engine/comm/communicator.h"

namespace ghost {

class ThreadGroup;

/// Ranks are threads of one process: for tests of what runs on many ranks. Elements go from the
/// sender's tensor straight into the receiver's, so a send waits until it is received.
class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(std::shared_ptr<ThreadGroup> group, int rank, CommOptions options,
                     std::string name);

 private:
  void exchange(const Exchange& exchange) override;
  void take(const Exchange& exchange, const Piece& piece,
            std::chrono::steady_clock::time_point deadline);
  void wait_until_taken(const Exchange& exchange, const Piece& piece,
                        std::chrono::steady_clock::time_point deadline);
  [[noreturn]] void fail_waiting(CommOp op, const Piece& piece, std::string_view expected) const;
  std::unique_ptr<Communicator> make_group(const Group& group) override;

  std::shared_ptr<ThreadGroup> group_;
};

/// Runs `body` on `size` threads, each with the communicator of its rank in the group "world", and
/// returns when all are done. When a rank throws, ranks that wait for others throw at once, and
/// this throws what was thrown first. Memory meters are not thread-safe: every rank needs its own
/// allocators, so `options.host_allocator` has to be null.
void run_ranks(int size, const CommOptions& options,
               const std::function<void(Communicator&)>& body);

}  // namespace ghost
