#include "engine/comm/nccl/nccl_handle.h"

#include <exception>
#include <utility>

namespace ghost::cuda {
namespace {

constexpr auto kWatchEvery = std::chrono::milliseconds(100);
constexpr auto kPollEvery = std::chrono::microseconds(20);
constexpr auto kPatienceAtEnd = std::chrono::seconds(5);

double seconds(std::chrono::milliseconds time) {
  return std::chrono::duration<double>(time).count();
}

}  // namespace

void check_nccl(ncclResult_t result, std::string_view call) {
  if (result != ncclSuccess && result != ncclInProgress) {
    fail("{} failed: {}: {}", call, ncclGetErrorString(result), ncclGetLastError(nullptr));
  }
}

ncclUniqueId make_unique_id() {
  ncclUniqueId id;
  check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
  return id;
}

NcclHandle::NcclHandle(const ncclUniqueId& id, int rank, int size, const Device& device,
                       std::chrono::milliseconds timeout)
    : device_(device), stream_(stream_of(device)) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  check_nccl(ncclCommInitRankConfig(&comm_, size, id, rank, &config), "ncclCommInitRankConfig");
  settle(fmt::format("rank {} of {} joins a group of NCCL", rank, size), timeout);
  watcher_ = std::thread([this] { watch_loop(); });
}

NcclHandle::NcclHandle(ncclComm_t comm, const Device& device, std::chrono::milliseconds timeout)
    : device_(device), stream_(stream_of(device)), comm_(comm) {
  settle("a group is split off", timeout);
  watcher_ = std::thread([this] { watch_loop(); });
}

NcclHandle::~NcclHandle() {
  {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  stop_.notify_all();
  watcher_.join();
  for (const Pending& pending : pending_) {
    cudaEventDestroy(pending.done);
  }
  if (comm_ == nullptr) {
    return;
  }
  // The end of a group waits for all ranks; after an error they may not come.
  ncclResult_t state = std::uncaught_exceptions() > 0 ? ncclSystemError : ncclCommFinalize(comm_);
  const Clock::time_point deadline = Clock::now() + kPatienceAtEnd;
  while (state == ncclInProgress && Clock::now() < deadline) {
    std::this_thread::sleep_for(kPollEvery);
    if (ncclCommGetAsyncError(comm_, &state) != ncclSuccess) {
      state = ncclSystemError;
    }
  }
  if (state == ncclSuccess) {
    ncclCommDestroy(comm_);
  } else {
    ncclCommAbort(comm_);
  }
}

void NcclHandle::throw_failure() const {
  const std::lock_guard lock(mutex_);
  throw_locked_failure();
}

void NcclHandle::throw_locked_failure() const {
  if (failure_) {
    throw Error(*failure_);
  }
}

void NcclHandle::abort_with(const std::string& failure) {
  failure_ = failure;
  if (comm_ != nullptr) {
    ncclCommAbort(std::exchange(comm_, nullptr));
  }
}

// With the lock held, or before there is a second thread.
void NcclHandle::settle(const std::string& what, std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  ncclResult_t state = ncclInProgress;
  for (;;) {
    ncclResult_t result = ncclCommGetAsyncError(comm_, &state);
    result = result == ncclSuccess ? state : result;
    if (result == ncclSuccess) {
      return;
    }
    if (result != ncclInProgress) {
      const std::string text = ncclGetErrorString(result);
      abort_with(fmt::format("{} failed: {}", what, text));
      break;
    }
    if (Clock::now() >= deadline) {
      abort_with(fmt::format("{} waited {:g} s for other ranks; expected them to start it too",
                             what, seconds(timeout)));
      break;
    }
    std::this_thread::sleep_for(kPollEvery);
  }
  throw_locked_failure();
}

// Work that is captured for a graph runs later, and then nobody can tell which operation hangs.
void NcclHandle::watch(const std::string& what, std::chrono::milliseconds timeout) {
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream_, &capture), "cudaStreamIsCapturing");
  if (capture != cudaStreamCaptureStatusNone) {
    return;
  }
  Pending pending{.what = fmt::format("{} waited {:g} s for other ranks; expected it to end", what,
                                      seconds(timeout)),
                  .deadline = Clock::now() + timeout};
  check(cudaEventCreateWithFlags(&pending.done, cudaEventDisableTiming), "cudaEventCreate");
  const cudaError_t recorded = cudaEventRecord(pending.done, stream_);
  pending_.push_back(std::move(pending));  // owned from here on
  check(recorded, "cudaEventRecord");
}

void NcclHandle::watch_loop() {
  // Asking for an event would otherwise spoil a graph that another thread captures.
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  cudaThreadExchangeStreamCaptureMode(&mode);
  std::unique_lock lock(mutex_);
  while (!is_stopping_) {
    stop_.wait_for(lock, kWatchEvery);
    look_after_pending();
  }
}

void NcclHandle::look_after_pending() {
  while (!pending_.empty() && cudaEventQuery(pending_.front().done) != cudaErrorNotReady) {
    cudaEventDestroy(pending_.front().done);
    pending_.pop_front();
  }
  if (comm_ == nullptr) {
    return;
  }
  ncclResult_t state = ncclSuccess;
  if (ncclCommGetAsyncError(comm_, &state) == ncclSuccess && state != ncclSuccess &&
      state != ncclInProgress) {
    abort_with(fmt::format("NCCL failed on {}: {}", device_.name(), ncclGetErrorString(state)));
  } else if (!pending_.empty() && Clock::now() >= pending_.front().deadline) {
    abort_with(pending_.front().what);
  }
}

}  // namespace ghost::cuda
