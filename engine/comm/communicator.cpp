#include "engine/comm/communicator.h"

#include <algorithm>
#include <utility>

#include "engine/comm/rank_sum.h"
#include "engine/tensor/primitives.h"

namespace ghost {
namespace {

// Up to here everybody sends everything to everybody and sums all of it: one round, not two.
constexpr std::int64_t kOneRoundBytes = 32 << 10;  // of all ranks together

constexpr int kLabelsOfOp = 16;  // more than there are dtypes

std::int64_t slice_begin(std::int64_t n, int rank, int size) { return n * rank / size; }

Tensor flat(const Tensor& x) { return x.reshape({x.numel()}); }

bool shares_elements(const Tensor& a, const Tensor& b) {
  return a.storage() == b.storage() && a.offset() == b.offset();
}

void copy_unless_same(const Tensor& destination, const Tensor& source) {
  if (!shares_elements(destination, source)) {
    copy(destination, source);
  }
}

}  // namespace

std::string_view comm_op_name(CommOp op) {
  switch (op) {
    case CommOp::kSend:
      return "send";
    case CommOp::kRecv:
      return "recv";
    case CommOp::kBroadcast:
      return "broadcast";
    case CommOp::kAllGather:
      return "all_gather";
    case CommOp::kReduce:
      return "reduce";
    case CommOp::kAllReduce:
      return "all_reduce";
    case CommOp::kBarrier:
      return "barrier";
    case CommOp::kSplit:
      return "split";
  }
  fail("unknown operation of a communicator");
}

/// Counts one operation: the time always, bytes when it came to its end.
class Communicator::Call {
 public:
  Call(Communicator& comm, CommOp op)
      : count_(comm.counts_[static_cast<std::size_t>(op)]), moves_(comm.size_ > 1) {
    ++count_.calls;
  }
  ~Call() {
    count_.seconds +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  void done(std::int64_t sent_bytes, std::int64_t received_bytes) {
    if (moves_) {
      count_.sent_bytes += sent_bytes;
      count_.received_bytes += received_bytes;
    }
  }

 private:
  CommCount& count_;
  bool moves_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

Communicator::Communicator(std::string name, int rank, int size, CommOptions options, Device device)
    : name_(std::move(name)),
      rank_(rank),
      size_(size),
      options_(std::move(options)),
      device_(device) {
  GHOST_CHECK(size >= 1 && rank >= 0 && rank < size,
              "communicator {}: rank {} of {}; expected a rank from 0 to one less than the size",
              name_, rank, size);
  if (device_.is_cpu()) {
    staging_allocator_ = options_.host_allocator;
  }
}

const std::shared_ptr<Allocator>& Communicator::staging_allocator() {
  if (staging_allocator_ == nullptr) {
    staging_allocator_ = make_allocator(device_);
  }
  return staging_allocator_;
}

std::string Communicator::who(CommOp op) const {
  return fmt::format("{} in {}: rank {} of {}", comm_op_name(op), name_, rank_, size_);
}

void Communicator::fail_timeout(CommOp op, int peer, std::string_view expected) const {
  fail("{} waited {:g} s for rank {}; expected it to {}", who(op),
       std::chrono::duration<double>(options_.timeout).count(), peer, expected);
}

int Communicator::label_of(CommOp op, DType dtype) {
  const CommOp matched = op == CommOp::kRecv ? CommOp::kSend : op;
  return static_cast<int>(matched) * kLabelsOfOp + static_cast<int>(dtype);
}

std::string Communicator::label_text(int label) {
  return fmt::format("{} of {}", comm_op_name(static_cast<CommOp>(label / kLabelsOfOp)),
                     dtype_name(static_cast<DType>(label % kLabelsOfOp)));
}

void Communicator::check_peer(CommOp op, int peer, std::string_view role) const {
  GHOST_CHECK(peer >= 0 && peer < size_, "{}: {} is {}; expected a rank from 0 to {}", who(op),
              role, peer, size_ - 1);
}

void Communicator::check_tensor(CommOp op, const Tensor& x) const {
  GHOST_CHECK(x.defined(), "{}: the tensor is undefined", who(op));
  GHOST_CHECK(size_ == 1 || !x.device().is_dry,
              "{}: the tensor lies on a dry device; expected one with elements", who(op));
}

// Memory that the transport reaches, for what has shape and dtype of x: x itself where it does.
Tensor Communicator::place(const Tensor& x) {
  return x.device() == device_
             ? x
             : Tensor(staging_allocator(), x.shape(), x.dtype(), MemoryTag::kComm);
}

Tensor Communicator::loaded(const Tensor& x) {
  const Tensor out = place(x);
  copy_unless_same(out, x);
  return out;
}

void Communicator::bring_back(const Tensor& x, const Tensor& moved) {
  copy_unless_same(x, moved);
  if (x.device() != moved.device()) {
    confirm();
  }
}

void Communicator::send(const Tensor& x, int to) {
  Call call(*this, CommOp::kSend);
  check_peer(CommOp::kSend, to, "the receiver");
  GHOST_CHECK(to != rank_, "{}: the receiver is this rank; expected another", who(CommOp::kSend));
  check_tensor(CommOp::kSend, x);
  if (x.bytes() > 0) {
    const Tensor from = loaded(x);
    exchange({.op = CommOp::kSend,
              .dtype = x.dtype(),
              .sends = {{.peer = to, .data = from.raw(), .bytes = x.bytes()}}});
  }
  call.done(x.bytes(), 0);
}

void Communicator::recv(const Tensor& x, int from) {
  Call call(*this, CommOp::kRecv);
  check_peer(CommOp::kRecv, from, "the sender");
  GHOST_CHECK(from != rank_, "{}: the sender is this rank; expected another", who(CommOp::kRecv));
  check_tensor(CommOp::kRecv, x);
  if (x.bytes() > 0) {
    const Tensor to = place(x);
    exchange({.op = CommOp::kRecv,
              .dtype = x.dtype(),
              .recvs = {{.peer = from, .data = to.raw(), .bytes = x.bytes()}}});
    bring_back(x, to);
  }
  call.done(0, x.bytes());
}

void Communicator::broadcast(const Tensor& x, int root) {
  Call call(*this, CommOp::kBroadcast);
  check_peer(CommOp::kBroadcast, root, "the root");
  check_tensor(CommOp::kBroadcast, x);
  if (size_ > 1 && x.bytes() > 0) {
    const Tensor moved = rank_ == root ? loaded(x) : place(x);
    broadcast_bytes(moved, root);
    if (rank_ != root) {
      bring_back(x, moved);
    }
  }
  call.done(rank_ == root ? x.bytes() : 0, rank_ == root ? 0 : x.bytes());
}

void Communicator::broadcast_bytes(const Tensor& x, int root) {
  Exchange all{.op = CommOp::kBroadcast, .dtype = x.dtype()};
  if (rank_ != root) {
    all.recvs = {{.peer = root, .data = x.raw(), .bytes = x.bytes()}};
  } else {
    for (int peer = 0; peer < size_; ++peer) {
      if (peer != rank_) {
        all.sends.push_back({.peer = peer, .data = x.raw(), .bytes = x.bytes()});
      }
    }
  }
  exchange(all);
}

void Communicator::all_gather(const Tensor& x, const Tensor& out) {
  Call call(*this, CommOp::kAllGather);
  check_tensor(CommOp::kAllGather, x);
  check_tensor(CommOp::kAllGather, out);
  GHOST_CHECK(
      out.dtype() == x.dtype() && out.numel() == size_ * x.numel() && out.device() == x.device(),
      "{}: {} {} on {} into {} {} on {}; expected {} times as many elements, equal dtype "
      "and device",
      who(CommOp::kAllGather), dtype_name(x.dtype()), x.shape(), x.device().name(),
      dtype_name(out.dtype()), out.shape(), out.device().name(), size_);
  if (x.bytes() > 0) {
    gather(CommOp::kAllGather, x, out);
  }
  call.done(x.bytes(), (size_ - 1) * x.bytes());
}

void Communicator::gather(CommOp op, const Tensor& x, const Tensor& out) {
  if (size_ == 1) {
    return copy_unless_same(flat(out), flat(x));
  }
  const Tensor from = loaded(x);
  const Tensor to = place(out);
  all_gather_bytes(op, from, to);
  bring_back(out, to);
}

void Communicator::all_gather_bytes(CommOp op, const Tensor& x, const Tensor& out) {
  Exchange all{.op = op, .dtype = x.dtype()};
  for (int peer = 0; peer < size_; ++peer) {
    if (peer != rank_) {
      all.sends.push_back({.peer = peer, .data = x.raw(), .bytes = x.bytes()});
      all.recvs.push_back({.peer = peer, .data = out.raw() + peer * x.bytes(), .bytes = x.bytes()});
    }
  }
  exchange(all);
  copy_unless_same(flat(out).slice(rank_ * x.numel(), (rank_ + 1) * x.numel()), flat(x));
}

void Communicator::reduce(const Tensor& x, int root) {
  Call call(*this, CommOp::kReduce);
  check_peer(CommOp::kReduce, root, "the root");
  sum_over_ranks(CommOp::kReduce, x, root);
  call.done(rank_ == root ? 0 : x.bytes(), rank_ == root ? x.bytes() : 0);
}

void Communicator::all_reduce(const Tensor& x) {
  Call call(*this, CommOp::kAllReduce);
  sum_over_ranks(CommOp::kAllReduce, x, /*root=*/-1);
  call.done(x.bytes(), x.bytes());
}

// Rank q sums slice q of every rank: the elements [slice_begin(q), slice_begin(q + 1)).
Tensor Communicator::sum_slices(CommOp op, const Tensor& x) {
  const std::int64_t n = x.numel();
  const std::int64_t begin = slice_begin(n, rank_, size_);
  const std::int64_t own = slice_begin(n, rank_ + 1, size_) - begin;
  const Tensor parts(x.storage()->shared_allocator(), {size_, own}, x.dtype(), MemoryTag::kComm);
  const std::int64_t own_bytes = own * itemsize(x.dtype());
  Exchange all{.op = op, .dtype = x.dtype()};
  for (int peer = 0; peer < size_; ++peer) {
    if (peer == rank_) {
      continue;
    }
    const Tensor theirs = x.slice(slice_begin(n, peer, size_), slice_begin(n, peer + 1, size_));
    if (theirs.bytes() > 0) {
      all.sends.push_back({.peer = peer, .data = theirs.raw(), .bytes = theirs.bytes()});
    }
    if (own_bytes > 0) {
      all.recvs.push_back(
          {.peer = peer, .data = parts.raw() + peer * own_bytes, .bytes = own_bytes});
    }
  }
  exchange(all);
  copy(parts.slice(rank_, rank_ + 1).reshape({own}), x.slice(begin, begin + own));
  const Tensor sums = parts.slice(0, 1).reshape({own});
  sum_in_rank_order(parts, sums);
  return sums;
}

// On `root`, or on every rank where that is -1.
void Communicator::sum_over_ranks(CommOp op, const Tensor& x, int root) {
  check_tensor(op, x);
  GHOST_CHECK(is_floating(x.dtype()), "{}: a sum of {}; expected f32, f64 or bf16", who(op),
              dtype_name(x.dtype()));
  if (size_ == 1 || x.numel() == 0) {
    return;
  }
  const bool gets_sum = root < 0 || rank_ == root;
  const Tensor moved = flat(loaded(x));
  const std::int64_t n = moved.numel();
  if (size_ * moved.bytes() <= kOneRoundBytes) {
    const Tensor parts(moved.storage()->shared_allocator(), {size_, n}, x.dtype(),
                       MemoryTag::kComm);
    all_gather_bytes(op, moved, parts);
    if (gets_sum) {
      sum_in_rank_order(parts, moved);
    }
  } else {
    const Tensor sums = sum_slices(op, moved);
    Exchange all{.op = op, .dtype = x.dtype()};
    for (int peer = 0; peer < size_; ++peer) {
      if (peer == rank_) {
        continue;
      }
      const Tensor theirs =
          moved.slice(slice_begin(n, peer, size_), slice_begin(n, peer + 1, size_));
      if (sums.bytes() > 0 && (root < 0 || peer == root)) {
        all.sends.push_back({.peer = peer, .data = sums.raw(), .bytes = sums.bytes()});
      }
      if (theirs.bytes() > 0 && gets_sum) {
        all.recvs.push_back({.peer = peer, .data = theirs.raw(), .bytes = theirs.bytes()});
      }
    }
    exchange(all);
    if (gets_sum) {
      copy(moved.slice(slice_begin(n, rank_, size_), slice_begin(n, rank_ + 1, size_)), sums);
    }
  }
  if (gets_sum) {
    bring_back(flat(x), moved);
  }
}

void Communicator::barrier() {
  Call call(*this, CommOp::kBarrier);
  if (size_ > 1) {
    wait_for_all();
  }
}

void Communicator::wait_for_all() {
  const Tensor token(staging_allocator(), {1}, DType::kU8, MemoryTag::kComm);
  const Tensor tokens(staging_allocator(), {size_}, DType::kU8, MemoryTag::kComm);
  fill_zero(token);
  all_gather_bytes(CommOp::kBarrier, token, tokens);
}

std::unique_ptr<Communicator> Communicator::split(int colour, int key, std::string_view name) {
  constexpr CommOp kOp = CommOp::kSplit;
  Call call(*this, kOp);
  GHOST_CHECK(colour >= 0, "{}: the colour is {}; expected 0 or more", who(kOp), colour);
  const std::shared_ptr<Allocator> host =
      device_.is_cpu() ? staging_allocator() : make_allocator(Device{});
  const Tensor own(host, {2}, DType::kI32, MemoryTag::kComm);
  const Tensor all(host, {size_, 2}, DType::kI32, MemoryTag::kComm);
  own.span<std::int32_t>()[0] = colour;
  own.span<std::int32_t>()[1] = key;
  gather(kOp, own, all);

  Group group{.name = std::string(name), .colour = colour, .number = count(kOp).calls};
  const std::int32_t* pairs = all.data<std::int32_t>();
  for (int member = 0; member < size_; ++member) {
    if (pairs[2 * member] == colour) {
      group.members.push_back(member);
    }
  }
  std::stable_sort(group.members.begin(), group.members.end(),
                   [&](int a, int b) { return pairs[2 * a + 1] < pairs[2 * b + 1]; });
  const auto self = std::find(group.members.begin(), group.members.end(), rank_);
  group.rank = static_cast<int>(self - group.members.begin());
  std::unique_ptr<Communicator> out = make_group(group);
  call.done(own.bytes(), (size_ - 1) * own.bytes());
  return out;
}

}  // namespace ghost
