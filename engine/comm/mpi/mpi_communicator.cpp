#include "engine/comm/mpi/mpi_communicator.h"

#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <algorithm>
#include <array>
#include <exception>
#include <mpi.h>
#include <optional>
#include <thread>
#include <utility>

namespace ghost {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kMaxMessageBytes = std::int64_t{1} << 30;  // MPI counts in int

std::string error_text(int code) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  return {text.data(), static_cast<std::size_t>(length)};
}

void check_mpi(int code, std::string_view call) {
  GHOST_CHECK(code == MPI_SUCCESS, "{} failed: {}", call, error_text(code));
}

bool is_unwinding() { return std::uncaught_exceptions() > 0; }

/// MPI between its start and its end.
class MpiSession {
 public:
  MpiSession() {
    int is_started = 0;
    check_mpi(MPI_Initialized(&is_started), "MPI_Initialized");
    GHOST_CHECK(is_started == 0, "MPI was started before; expected one world a process");
    int level = 0;
    check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &level), "MPI_Init_thread");
  }
  ~MpiSession() {
    if (!is_unwinding()) {
      MPI_Finalize();
    }
  }
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
};

/// Owns an MPI communicator whose errors are return codes.
class MpiHandle {
 public:
  MpiHandle(std::shared_ptr<MpiSession> session, MPI_Comm comm)
      : session_(std::move(session)), comm_(comm) {
    check_mpi(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  }
  MpiHandle(MpiHandle&& other) noexcept
      : session_(std::move(other.session_)), comm_(std::exchange(other.comm_, MPI_COMM_NULL)) {}
  MpiHandle& operator=(MpiHandle&&) = delete;
  ~MpiHandle() {
    if (comm_ != MPI_COMM_NULL && !is_unwinding()) {
      MPI_Comm_free(&comm_);
    }
  }

  MPI_Comm get() const { return comm_; }
  const std::shared_ptr<MpiSession>& session() const { return session_; }
  int rank() const {
    int rank = 0;
    check_mpi(MPI_Comm_rank(comm_, &rank), "MPI_Comm_rank");
    return rank;
  }
  int size() const {
    int size = 0;
    check_mpi(MPI_Comm_size(comm_, &size), "MPI_Comm_size");
    return size;
  }

 private:
  std::shared_ptr<MpiSession> session_;
  MPI_Comm comm_;
};

/// One message under way: a piece, or 1 GiB of it.
struct Transfer {
  int peer = 0;
  std::int64_t bytes = 0;
  bool is_recv = false;
};

/// Requests under way together. What is left of them when an exchange fails is given up: MPI may
/// touch the elements until the process ends, which it does after such an error.
class Transfers {
 public:
  Transfers() = default;
  ~Transfers() {
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i] != MPI_REQUEST_NULL) {
        if (transfers_[i].is_recv) {
          MPI_Cancel(&requests_[i]);
        }
        MPI_Request_free(&requests_[i]);
      }
    }
  }
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;

  void start(MPI_Comm comm, const Transfer& transfer, std::byte* data, int label) {
    transfers_.push_back(transfer);
    MPI_Request& request = requests_.emplace_back(MPI_REQUEST_NULL);
    const int count = static_cast<int>(transfer.bytes);
    if (transfer.is_recv) {
      check_mpi(MPI_Irecv(data, count, MPI_BYTE, transfer.peer, label, comm, &request),
                "MPI_Irecv");
    } else {
      check_mpi(MPI_Isend(data, count, MPI_BYTE, transfer.peer, label, comm, &request),
                "MPI_Isend");
    }
  }

  struct Finished {
    const Transfer& transfer;
    int code = MPI_SUCCESS;
    int bytes = 0;
  };
  /// Calls `visit` with every transfer that has ended since; true when one had.
  template <typename Visit>
  bool poll(Visit visit) {
    const int num_requests = static_cast<int>(requests_.size());
    ended_.resize(requests_.size());
    statuses_.resize(requests_.size());
    int num_ended = 0;
    const int code =
        MPI_Testsome(num_requests, requests_.data(), &num_ended, ended_.data(), statuses_.data());
    if (code != MPI_ERR_IN_STATUS) {
      check_mpi(code, "MPI_Testsome");
    }
    if (num_ended == MPI_UNDEFINED) {
      num_left_ = 0;
      return false;
    }
    for (int i = 0; i < num_ended; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const MPI_Status& status = statuses_[at];
      Finished finished{.transfer = transfers_[static_cast<std::size_t>(ended_[at])],
                        .code = code == MPI_ERR_IN_STATUS ? status.MPI_ERROR : MPI_SUCCESS};
      if (finished.code == MPI_SUCCESS && finished.transfer.is_recv) {
        check_mpi(MPI_Get_count(&status, MPI_BYTE, &finished.bytes), "MPI_Get_count");
      }
      visit(finished);
    }
    num_left_ = std::count_if(requests_.begin(), requests_.end(),
                              [](MPI_Request request) { return request != MPI_REQUEST_NULL; });
    return num_ended > 0;
  }
  bool is_done() const { return num_left_ == 0; }

  /// One that has not ended; a receive where there is one.
  const Transfer& open() const {
    std::optional<std::size_t> found;
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i] != MPI_REQUEST_NULL && (!found || transfers_[i].is_recv)) {
        found = i;
        if (transfers_[i].is_recv) {
          break;
        }
      }
    }
    return transfers_[found.value()];
  }

 private:
  std::vector<Transfer> transfers_;
  std::vector<MPI_Request> requests_;
  std::vector<int> ended_;
  std::vector<MPI_Status> statuses_;
  std::ptrdiff_t num_left_ = 1;
};

/// Polls fast at first: messages of a pipeline are awaited for microseconds, and late ranks for
/// long enough that others shall have the core.
class Backoff {
 public:
  void pause() {
    ++num_polls_;
    if (num_polls_ > kSleepAfter) {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    } else if (num_polls_ > kYieldAfter) {
      std::this_thread::yield();
    }
  }
  void reset() { num_polls_ = 0; }

 private:
  static constexpr int kYieldAfter = 200;
  static constexpr int kSleepAfter = 20'000;
  int num_polls_ = 0;
};

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator(MpiHandle handle, CommOptions options, std::string name)
      : Communicator(std::move(name), handle.rank(), handle.size(), std::move(options), Device{}),
        handle_(std::move(handle)) {}

 private:
  void exchange(const Exchange& exchange) override;
  void check_finished(const Exchange& exchange, const Transfers::Finished& finished) const;
  [[noreturn]] void fail_late(const Exchange& exchange, const Transfer& transfer) const;
  std::unique_ptr<Communicator> make_group(const Group& group) override;

  MpiHandle handle_;
};

// Operation and dtype are the tag, so messages of another operation are never taken for these.
void MpiCommunicator::exchange(const Exchange& exchange) {
  const int label = label_of(exchange.op, exchange.dtype);
  Transfers transfers;
  const auto start = [&](const Piece& piece, bool is_recv) {
    for (std::int64_t begin = 0; begin < piece.bytes; begin += kMaxMessageBytes) {
      transfers.start(handle_.get(),
                      {.peer = piece.peer,
                       .bytes = std::min(kMaxMessageBytes, piece.bytes - begin),
                       .is_recv = is_recv},
                      piece.data + begin, label);
    }
  };
  for (const Piece& piece : exchange.recvs) {
    start(piece, /*is_recv=*/true);
  }
  for (const Piece& piece : exchange.sends) {
    start(piece, /*is_recv=*/false);
  }
  const Clock::time_point deadline = Clock::now() + options().timeout;
  Backoff backoff;
  while (!transfers.is_done()) {
    const bool moved = transfers.poll(
        [&](const Transfers::Finished& finished) { check_finished(exchange, finished); });
    if (moved) {
      backoff.reset();
    } else if (!transfers.is_done()) {
      if (Clock::now() >= deadline) {
        fail_late(exchange, transfers.open());
      }
      backoff.pause();
    }
  }
}

void MpiCommunicator::check_finished(const Exchange& exchange,
                                     const Transfers::Finished& finished) const {
  const Transfer& transfer = finished.transfer;
  const std::string label = label_text(label_of(exchange.op, exchange.dtype));
  if (finished.code == MPI_ERR_TRUNCATE) {
    fail("{} got more than {} bytes for {} from rank {}; expected {} bytes", who(exchange.op),
         transfer.bytes, label, transfer.peer, transfer.bytes);
  }
  GHOST_CHECK(finished.code == MPI_SUCCESS, "{} failed with rank {}: {}", who(exchange.op),
              transfer.peer, error_text(finished.code));
  GHOST_CHECK(!transfer.is_recv || finished.bytes == transfer.bytes,
              "{} got {} bytes for {} from rank {}; expected {} bytes", who(exchange.op),
              finished.bytes, label, transfer.peer, transfer.bytes);
}

void MpiCommunicator::fail_late(const Exchange& exchange, const Transfer& transfer) const {
  std::string expected =
      fmt::format("{} {} bytes", transfer.is_recv ? "send" : "receive", transfer.bytes);
  // It may have sent something else and wait as well.
  int has_sent = 0;
  MPI_Status status;
  if (MPI_Iprobe(transfer.peer, MPI_ANY_TAG, handle_.get(), &has_sent, &status) == MPI_SUCCESS &&
      has_sent != 0) {
    int bytes = 0;
    MPI_Get_count(&status, MPI_BYTE, &bytes);
    expected += fmt::format(" for {}, but it sent {} bytes for {}",
                            label_text(label_of(exchange.op, exchange.dtype)), bytes,
                            label_text(status.MPI_TAG));
  }
  fail_timeout(exchange.op, transfer.peer, expected);
}

// MPI_Comm_split cannot time out; everybody has just been heard, so everybody comes.
std::unique_ptr<Communicator> MpiCommunicator::make_group(const Group& group) {
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_split(handle_.get(), group.colour, group.rank, &comm), "MPI_Comm_split");
  return std::make_unique<MpiCommunicator>(MpiHandle(handle_.session(), comm), options(),
                                           group.name);
}

}  // namespace

std::unique_ptr<Communicator> make_mpi_world(CommOptions options) {
  auto session = std::make_shared<MpiSession>();
  MPI_Comm comm = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &comm), "MPI_Comm_dup");
  return std::make_unique<MpiCommunicator>(MpiHandle(std::move(session), comm), std::move(options),
                                           "world");
}

}  // namespace ghost
