#include "engine/comm/thread_communicator.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace ghost {
namespace {

using Clock = std::chrono::steady_clock;

// How soon a waiting rank learns that another has failed.
constexpr auto kFailurePoll = std::chrono::milliseconds(5);

struct Message {
  int label = 0;
  const std::byte* data = nullptr;
  std::int64_t bytes = 0;
};

/// From one rank to another: at most one message at a time, as a sender waits until it is taken.
struct Mailbox {
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<Message> message;
};

/// The first rank that failed, shared by a world and all groups that were split off it.
class Failure {
 public:
  void set(const std::string& what, const std::exception_ptr& exception) {
    const std::lock_guard lock(mutex_);
    if (exception_ == nullptr) {
      what_ = what;
      exception_ = exception;
    }
  }
  std::optional<std::string> what() const {
    const std::lock_guard lock(mutex_);
    return exception_ == nullptr ? std::nullopt : std::optional(what_);
  }
  void rethrow() const {
    if (exception_ != nullptr) {
      std::rethrow_exception(exception_);
    }
  }

 private:
  mutable std::mutex mutex_;
  std::string what_;
  std::exception_ptr exception_;
};

}  // namespace

class ThreadGroup {
 public:
  ThreadGroup(int size, std::shared_ptr<Failure> failure)
      : size_(size),
        boxes_(static_cast<std::size_t>(size) * static_cast<std::size_t>(size)),
        failure_(std::move(failure)) {}

  int size() const { return size_; }
  Mailbox& box(int from, int to) { return boxes_[static_cast<std::size_t>(from * size_ + to)]; }
  const Failure& failure() const { return *failure_; }

  /// The group of a colour in the `number`-th split: whoever asks first makes it.
  std::shared_ptr<ThreadGroup> part(std::int64_t number, int colour, int size) {
    const std::lock_guard lock(mutex_);
    Part& part = parts_[{number, colour}];
    if (part.group == nullptr) {
      part.group = std::make_shared<ThreadGroup>(size, failure_);
    }
    const std::shared_ptr<ThreadGroup> group = part.group;
    if (++part.num_members == size) {
      parts_.erase({number, colour});
    }
    return group;
  }

 private:
  struct Part {
    std::shared_ptr<ThreadGroup> group;
    int num_members = 0;  // that have it
  };

  int size_;
  std::vector<Mailbox> boxes_;
  std::shared_ptr<Failure> failure_;
  std::mutex mutex_;
  std::map<std::pair<std::int64_t, int>, Part> parts_;
};

namespace {

enum class Waited { kReady, kTimeout, kFailure };

template <typename Ready>
Waited wait(Mailbox& box, std::unique_lock<std::mutex>& lock, Clock::time_point deadline,
            const Failure& failure, Ready ready) {
  while (!ready()) {
    if (failure.what()) {
      return Waited::kFailure;
    }
    if (Clock::now() >= deadline) {
      return Waited::kTimeout;
    }
    box.changed.wait_until(lock, std::min(deadline, Clock::now() + kFailurePoll));
  }
  return Waited::kReady;
}

}  // namespace

ThreadCommunicator::ThreadCommunicator(std::shared_ptr<ThreadGroup> group, int rank,
                                       CommOptions options, std::string name)
    : Communicator(std::move(name), rank, group->size(), std::move(options), Device{}),
      group_(std::move(group)) {}

void ThreadCommunicator::exchange(const Exchange& exchange) {
  const Clock::time_point deadline = Clock::now() + options().timeout;
  const int label = label_of(exchange.op, exchange.dtype);
  for (const Piece& piece : exchange.sends) {
    Mailbox& box = group_->box(rank(), piece.peer);
    const std::lock_guard lock(box.mutex);
    box.message = Message{.label = label, .data = piece.data, .bytes = piece.bytes};
    box.changed.notify_all();
  }
  try {
    for (const Piece& piece : exchange.recvs) {
      take(exchange, piece, deadline);
    }
    for (const Piece& piece : exchange.sends) {
      wait_until_taken(exchange, piece, deadline);
    }
  } catch (...) {
    // Nobody may read these elements once the caller can free them.
    for (const Piece& piece : exchange.sends) {
      Mailbox& box = group_->box(rank(), piece.peer);
      const std::lock_guard lock(box.mutex);
      box.message.reset();
    }
    throw;
  }
}

void ThreadCommunicator::take(const Exchange& exchange, const Piece& piece,
                              Clock::time_point deadline) {
  Mailbox& box = group_->box(piece.peer, rank());
  std::unique_lock lock(box.mutex);
  const Waited waited =
      wait(box, lock, deadline, group_->failure(), [&box] { return box.message.has_value(); });
  if (waited == Waited::kTimeout) {
    fail_timeout(exchange.op, piece.peer, fmt::format("send {} bytes", piece.bytes));
  }
  if (waited == Waited::kFailure) {
    fail_waiting(exchange.op, piece, "send");
  }
  const Message message = *box.message;
  const int label = label_of(exchange.op, exchange.dtype);
  GHOST_CHECK(message.label == label && message.bytes == piece.bytes,
              "{} got {} bytes for {} from rank {}; expected {} bytes for {}", who(exchange.op),
              message.bytes, label_text(message.label), piece.peer, piece.bytes, label_text(label));
  std::memcpy(piece.data, message.data, static_cast<std::size_t>(piece.bytes));
  box.message.reset();
  box.changed.notify_all();
}

void ThreadCommunicator::wait_until_taken(const Exchange& exchange, const Piece& piece,
                                          Clock::time_point deadline) {
  Mailbox& box = group_->box(rank(), piece.peer);
  std::unique_lock lock(box.mutex);
  const Waited waited =
      wait(box, lock, deadline, group_->failure(), [&box] { return !box.message.has_value(); });
  if (waited == Waited::kTimeout) {
    fail_timeout(exchange.op, piece.peer, fmt::format("receive {} bytes", piece.bytes));
  }
  if (waited == Waited::kFailure) {
    fail_waiting(exchange.op, piece, "receive");
  }
}

void ThreadCommunicator::fail_waiting(CommOp op, const Piece& piece,
                                      std::string_view expected) const {
  fail("{} waited for rank {}; expected it to {} {} bytes, but {}", who(op), piece.peer, expected,
       piece.bytes, *group_->failure().what());
}

std::unique_ptr<Communicator> ThreadCommunicator::make_group(const Group& group) {
  return std::make_unique<ThreadCommunicator>(
      group_->part(group.number, group.colour, static_cast<int>(group.members.size())), group.rank,
      options(), group.name);
}

void run_ranks(int size, const CommOptions& options,
               const std::function<void(Communicator&)>& body) {
  GHOST_CHECK(size >= 1, "run_ranks: {} ranks; expected at least 1", size);
  GHOST_CHECK(options.host_allocator == nullptr,
              "run_ranks: one host allocator for {} ranks; expected none, each makes its own",
              size);
  const auto failure = std::make_shared<Failure>();
  const auto group = std::make_shared<ThreadGroup>(size, failure);
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(size));
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        ThreadCommunicator comm(group, rank, options, "world");
        body(comm);
      } catch (const std::exception& error) {
        failure->set(fmt::format("rank {} of world failed: {}", rank, error.what()),
                     std::current_exception());
      } catch (...) {
        failure->set(fmt::format("rank {} of world failed", rank), std::current_exception());
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  failure->rethrow();
}

}  // namespace ghost
