#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <nccl.h>
#include <optional>
#include <string>
#include <thread>

#include "engine/comm/communicator.h"
#include "engine/device/cuda/stream.h"

namespace ghost::cuda {

/// Throws ghost::Error naming the call and what NCCL says. Work in progress is no failure.
void check_nccl(ncclResult_t result, std::string_view call);

/// Where every rank of a group finds the others.
ncclUniqueId make_unique_id();

/// Owns an ncclComm_t that never blocks, and the thread that ends it when an operation hangs.
class NcclHandle {
 public:
  /// Joins the group; throws when it is not complete within `timeout`.
  NcclHandle(const ncclUniqueId& id, int rank, int size, const Device& device,
             std::chrono::milliseconds timeout);
  /// Takes over what ncclCommSplit gave.
  NcclHandle(ncclComm_t comm, const Device& device, std::chrono::milliseconds timeout);
  ~NcclHandle();
  NcclHandle(const NcclHandle&) = delete;
  NcclHandle& operator=(const NcclHandle&) = delete;

  /// Calls `enqueue(ncclComm_t, cudaStream_t)` and waits until NCCL has taken it. `what` is told
  /// when the operation is not over after `timeout`. Throws what `throw_failure` throws.
  template <typename Enqueue>
  void run(const std::string& what, std::chrono::milliseconds timeout, Enqueue enqueue) {
    const std::lock_guard lock(mutex_);
    throw_locked_failure();
    enqueue(comm_, stream_);
    settle(what, timeout);
    watch(what, timeout);
  }

  /// Throws ghost::Error when an operation failed or hung; the group is gone then.
  void throw_failure() const;

  cudaStream_t stream() const { return stream_; }

 private:
  using Clock = std::chrono::steady_clock;

  /// An operation on the stream.
  struct Pending {
    std::string what;
    cudaEvent_t done = nullptr;
    Clock::time_point deadline;
  };

  void settle(const std::string& what, std::chrono::milliseconds timeout);
  void watch(const std::string& what, std::chrono::milliseconds timeout);
  void watch_loop();
  void look_after_pending();
  void abort_with(const std::string& failure);
  void throw_locked_failure() const;

  Device device_;
  cudaStream_t stream_ = nullptr;
  mutable std::mutex mutex_;  // NCCL's handle is not for two threads, and an abort frees it
  ncclComm_t comm_ = nullptr;
  std::deque<Pending> pending_;
  std::optional<std::string> failure_;
  bool is_stopping_ = false;
  std::condition_variable stop_;
  std::thread watcher_;
};

}  // namespace ghost::cuda
