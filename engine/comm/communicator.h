#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tensor/tensor.h"

namespace ghost {

enum class CommOp { kSend, kRecv, kBroadcast, kAllGather, kReduce, kAllReduce, kBarrier, kSplit };
inline constexpr int kNumCommOps = 8;

/// "send", "recv", "broadcast", "all_gather", "reduce", "all_reduce", "barrier", "split".
std::string_view comm_op_name(CommOp op);

/// What one rank did of one kind. Bytes are those of the tensors that it handed to others and of
/// the results that it got from others, once each: they follow from shapes alone, not from the
/// transport. With n the bytes of x on a rank and P ranks (a single rank moves nothing):
///
///   send        n sent                           recv        n received
///   broadcast   root: n sent; others: n received
///   all_gather  n sent, (P - 1) n received
///   reduce      root: n received; others: n sent
///   all_reduce  n sent, n received               barrier     0
///   split       8 sent, 8 (P - 1) received: colour and key
struct CommCount {
  std::int64_t calls = 0;
  std::int64_t sent_bytes = 0;
  std::int64_t received_bytes = 0;
  double seconds = 0;  // inside the operation: moving and waiting

  CommCount& operator+=(const CommCount& other) {
    calls += other.calls;
    sent_bytes += other.sent_bytes;
    received_bytes += other.received_bytes;
    seconds += other.seconds;
    return *this;
  }
  CommCount& operator-=(const CommCount& other) {
    calls -= other.calls;
    sent_bytes -= other.sent_bytes;
    received_bytes -= other.received_bytes;
    seconds -= other.seconds;
    return *this;
  }
};

struct CommOptions {
  /// How long one operation may wait for other ranks.
  std::chrono::milliseconds timeout = std::chrono::minutes(5);
  /// Host memory for what a transport cannot reach where it is; one of its own where null.
  std::shared_ptr<Allocator> host_allocator;
};

/// One rank of a group of ranks that work on tensors together. Every rank of the group calls the
/// same collectives in the same order with equal dtypes and shapes; send and recv pair up. One
/// operation at a time: a rank that overlaps messages takes a communicator (`split`) for each
/// thread. A send may return before it is received, or wait until it is: both must be right.
///
/// Sums are taken in rank order, ((x_0 + x_1) + x_2) + ..., in f32 for f32 and bf16 (rounded once,
/// at the end) and in f64 for f64. Each element is summed on one rank, or on all from the same
/// bytes, so every rank ends with the same bits, and so does every run and every transport.
///
/// Tensors may lie on any device; what the transport does not reach is copied through memory of tag
/// `comm`, as is what a sum needs. A transport on a GPU enqueues its work on the device's stream.
///
/// All operations throw ghost::Error naming operation, group, rank and peer: when the timeout is
/// over, when a peer sent something else than expected, when a peer is known to have failed, and
/// for a peer or root outside the group. The tensors' elements are unspecified then and the group
/// cannot be used any more.
class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Of the group, in messages: "world", or as given to `split`.
  const std::string& name() const { return name_; }

  /// x to rank `to`, another than this one.
  void send(const Tensor& x, int to);
  /// Fills x with what rank `from` sends; shape and dtype are known beforehand.
  void recv(const Tensor& x, int from);
  /// x of rank `root` on all ranks.
  void broadcast(const Tensor& x, int root);
  /// out = x of rank 0, x of rank 1, ... out has dtype and device of x and any shape of size()
  /// times its elements; x may be its own place in out.
  void all_gather(const Tensor& x, const Tensor& out);
  /// On rank `root`: x = sum of x over ranks (f32, f64, bf16). Elsewhere x stays as it is.
  void reduce(const Tensor& x, int root);
  /// x = sum of x over ranks (f32, f64, bf16).
  void all_reduce(const Tensor& x);
  /// Returns when every rank of the group has called it; on a GPU, also everything enqueued before
  /// is done.
  void barrier();

  /// Ranks of one colour (>= 0) form a group of their own, ordered by key and, for equal keys, by
  /// rank here. Collective. A grid of D replicas and K regions with rank = q K + k:
  ///
  ///   auto regions = world.split(q, k, "regions");    // K ranks of replica q
  ///   auto replicas = world.split(k, q, "replicas");  // D ranks of region k
  std::unique_ptr<Communicator> split(int colour, int key, std::string_view name);

  /// From the next operation on, and for groups split off then.
  void set_timeout(std::chrono::milliseconds timeout) { options_.timeout = timeout; }

  const CommCount& count(CommOp op) const { return counts_[static_cast<std::size_t>(op)]; }
  void reset_counts() { counts_ = {}; }

 protected:
  /// `device`: where tensors have to lie for `exchange`.
  Communicator(std::string name, int rank, int size, CommOptions options, Device device);

  /// Bytes for or from another rank; never empty, at most one a peer and direction.
  struct Piece {
    int peer = 0;
    std::byte* data = nullptr;
    std::int64_t bytes = 0;
  };
  using Pieces = std::vector<Piece>;
  struct Exchange {
    CommOp op = CommOp::kSend;
    DType dtype = DType::kU8;
    Pieces sends;
    Pieces recvs;
  };
  /// The one thing that a transport has to do: move these pieces, all at once, and return when they
  /// are there (on a GPU: enqueued). Checks operation, dtype and bytes as far as it can see them.
  virtual void exchange(const Exchange& exchange) = 0;

  /// The group of the `members` (ranks here, in their order there), for this rank. Everybody calls
  /// it for the `number`-th time.
  struct Group {
    std::string name;
    int colour = 0;
    int rank = 0;
    std::vector<int> members;
    std::int64_t number = 0;
  };
  virtual std::unique_ptr<Communicator> make_group(const Group& group) = 0;

  // Over exchange, every rank with every other: who waits then waits for the one that is late, and
  // its message names it. A transport with something better has its own.
  virtual void broadcast_bytes(const Tensor& x, int root);
  virtual void all_gather_bytes(CommOp op, const Tensor& x, const Tensor& out);
  virtual void wait_for_all();
  /// Called when the host has waited for results: throws where what was enqueued went wrong.
  virtual void confirm() {}

  const CommOptions& options() const { return options_; }
  /// Memory of the transport's device.
  const std::shared_ptr<Allocator>& staging_allocator();

  /// "all_reduce in world: rank 1 of 4", the begin of every message.
  std::string who(CommOp op) const;
  [[noreturn]] void fail_timeout(CommOp op, int peer, std::string_view expected) const;
  /// Operation and dtype as one number that both ends of a message agree on; see `label_text`.
  static int label_of(CommOp op, DType dtype);
  static std::string label_text(int label);

 private:
  class Call;

  void check_peer(CommOp op, int peer, std::string_view role) const;
  void check_tensor(CommOp op, const Tensor& x) const;
  Tensor place(const Tensor& x);
  Tensor loaded(const Tensor& x);
  void bring_back(const Tensor& x, const Tensor& moved);
  void gather(CommOp op, const Tensor& x, const Tensor& out);
  Tensor sum_slices(CommOp op, const Tensor& x);
  void sum_over_ranks(CommOp op, const Tensor& x, int root);

  std::string name_;
  int rank_;
  int size_;
  CommOptions options_;
  Device device_;
  std::shared_ptr<Allocator> staging_allocator_;
  std::array<CommCount, kNumCommOps> counts_{};
};

}  // namespace ghost
