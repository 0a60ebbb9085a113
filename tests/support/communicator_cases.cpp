#include "tests/support/communicator_cases.h"

#include <bit>
#include <cmath>
#include <vector>

namespace ghost::test {
namespace {

// Elements that sums in another order round differently. A function of rank and index alone.
double element(int rank, std::int64_t i) {
  return std::sin(0.7 * static_cast<double>(i) + 1.3 * rank) * std::pow(10.0, (i + rank) % 5);
}

template <typename T>
T rounded(double x) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    return BFloat16(static_cast<float>(x));
  } else {
    return static_cast<T>(x);
  }
}

template <typename T>
Tensor filled(int rank, const Shape& shape) {
  const Tensor x(make_allocator(Device{}), shape, kDTypeOf<T>, MemoryTag::kWorkspace);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    x.data<T>()[i] = rounded<T>(element(rank, i));
  }
  return x;
}

template <typename T>
auto bits_of(T x) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    return x.bits;
  } else if constexpr (std::is_same_v<T, double>) {
    return std::bit_cast<std::uint64_t>(x);
  } else {
    return std::bit_cast<std::uint32_t>(x);
  }
}

template <typename T>
void expect_equal(const Communicator& comm, const T* got, const Tensor& expected,
                  std::string_view what) {
  for (std::int64_t i = 0; i < expected.numel(); ++i) {
    GHOST_CHECK(bits_of(got[i]) == bits_of(expected.data<T>()[i]),
                "{} of {}: rank {} of {} has {:.17g} at {}; expected {:.17g}", what,
                dtype_name(expected.dtype()), comm.rank(), comm.size(), to_double(got[i]), i,
                to_double(expected.data<T>()[i]));
  }
}

/// The sum that the contract promises, one element after the other.
template <typename T>
Tensor expected_sum(int size, const Shape& shape) {
  using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
  Tensor out = filled<T>(0, shape);
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    auto sum = static_cast<Sum>(rounded<T>(element(0, i)));
    for (int rank = 1; rank < size; ++rank) {
      sum += static_cast<Sum>(rounded<T>(element(rank, i)));
    }
    out.data<T>()[i] = static_cast<T>(sum);
  }
  return out;
}

template <typename T>
void check_sums(Communicator& comm) {
  for (const Shape& shape : {Shape{1}, Shape{3}, Shape{2, 33}, Shape{101, 257}}) {
    const Tensor expected = expected_sum<T>(comm.size(), shape);
    for (int run = 0; run < 2; ++run) {
      const Tensor x = filled<T>(comm.rank(), shape);
      comm.all_reduce(x);
      expect_equal(comm, x.data<T>(), expected, "all_reduce");
    }
  }
}

void expect_count(const Communicator& comm, CommOp op, const CommCount& expected) {
  const CommCount& got = comm.count(op);
  const bool moves = comm.size() > 1;
  const std::int64_t sent = moves ? expected.sent_bytes : 0;
  const std::int64_t received = moves ? expected.received_bytes : 0;
  GHOST_CHECK(got.calls == expected.calls && got.sent_bytes == sent &&
                  got.received_bytes == received && got.seconds >= 0,
              "{}: rank {} of {} counted {} calls, {} bytes sent, {} received; expected {}, {}, {}",
              comm_op_name(op), comm.rank(), comm.size(), got.calls, got.sent_bytes,
              got.received_bytes, expected.calls, sent, received);
}

}  // namespace

void check_send_recv(Communicator& comm) {
  const Shape shape{3, 5};
  for (int from = 0; from + 1 < comm.size(); ++from) {
    if (comm.rank() == from) {
      comm.send(filled<float>(from, shape), from + 1);
      comm.send(filled<double>(from, shape), from + 1);
    } else if (comm.rank() == from + 1) {
      const Tensor x = filled<float>(99, shape);
      const Tensor y = filled<double>(99, shape);
      comm.recv(x, from);
      comm.recv(y, from);
      expect_equal(comm, x.data<float>(), filled<float>(from, shape), "recv");
      expect_equal(comm, y.data<double>(), filled<double>(from, shape), "recv");
    }
  }
}

void check_broadcast(Communicator& comm) {
  for (int root = 0; root < comm.size(); ++root) {
    const Tensor x = filled<BFloat16>(comm.rank(), {7, 3});
    comm.broadcast(x, root);
    expect_equal(comm, x.data<BFloat16>(), filled<BFloat16>(root, {7, 3}), "broadcast");
  }
  const Tensor empty(make_allocator(Device{}), {0, 4}, DType::kF32, MemoryTag::kWorkspace);
  comm.broadcast(empty, 0);
}

void check_all_gather(Communicator& comm) {
  const Shape shape{2, 3};
  const auto expect_all = [&](const Tensor& out) {
    for (int rank = 0; rank < comm.size(); ++rank) {
      expect_equal(comm, out.data<float>() + rank * shape.numel(), filled<float>(rank, shape),
                   "all_gather");
    }
  };
  const Tensor out = filled<float>(99, shape.with_first(comm.size()));
  comm.all_gather(filled<float>(comm.rank(), shape), out);
  expect_all(out);

  const Tensor in_place = filled<float>(99, {comm.size() * shape.numel()});
  const Tensor own = in_place.slice(comm.rank() * shape.numel(), (comm.rank() + 1) * shape.numel());
  const Tensor values = filled<float>(comm.rank(), shape);
  std::copy(values.data<float>(), values.data<float>() + shape.numel(), own.data<float>());
  comm.all_gather(own, in_place);
  expect_all(in_place);
}

void check_all_reduce(Communicator& comm) {
  check_sums<float>(comm);
  check_sums<double>(comm);
  check_sums<BFloat16>(comm);
}

void check_reduce(Communicator& comm) {
  for (const Shape& shape : {Shape{2}, Shape{101, 257}}) {
    for (int root = 0; root < comm.size(); ++root) {
      const Tensor x = filled<float>(comm.rank(), shape);
      comm.reduce(x, root);
      expect_equal(comm, x.data<float>(),
                   comm.rank() == root ? expected_sum<float>(comm.size(), shape)
                                       : filled<float>(comm.rank(), shape),
                   "reduce");
    }
  }
}

void check_barrier(Communicator& comm) {
  for (int i = 0; i < 20; ++i) {
    comm.barrier();
  }
}

void check_counts(Communicator& comm) {
  comm.reset_counts();
  const int size = comm.size();
  const bool is_root = comm.rank() == 0;
  const std::int64_t n = 20'000 * std::int64_t{sizeof(float)};  // two rounds from 2 ranks on
  const Tensor x = filled<float>(comm.rank(), {20'000});
  comm.broadcast(x, 0);
  comm.all_gather(x, filled<float>(99, {size, 20'000}));
  comm.reduce(x, 0);
  comm.all_reduce(x);
  comm.all_reduce(x.slice(0, 1));
  comm.barrier();
  static_cast<void>(comm.split(0, 0, "part"));
  expect_count(comm, CommOp::kBroadcast,
               {.calls = 1, .sent_bytes = is_root ? n : 0, .received_bytes = is_root ? 0 : n});
  expect_count(comm, CommOp::kAllGather,
               {.calls = 1, .sent_bytes = n, .received_bytes = (size - 1) * n});
  expect_count(comm, CommOp::kReduce,
               {.calls = 1, .sent_bytes = is_root ? 0 : n, .received_bytes = is_root ? n : 0});
  expect_count(comm, CommOp::kAllReduce,
               {.calls = 2, .sent_bytes = n + 4, .received_bytes = n + 4});
  expect_count(comm, CommOp::kBarrier, {.calls = 1});
  expect_count(comm, CommOp::kSplit,
               {.calls = 1, .sent_bytes = 8, .received_bytes = 8 * (size - 1)});
  if (size > 1 && comm.rank() < 2) {
    if (is_root) {
      comm.send(x, 1);
    } else {
      comm.recv(x, 0);
    }
    expect_count(comm, CommOp::kSend, {.calls = is_root, .sent_bytes = is_root ? n : 0});
    expect_count(comm, CommOp::kRecv, {.calls = !is_root, .received_bytes = is_root ? 0 : n});
  }
  comm.reset_counts();
  expect_count(comm, CommOp::kBroadcast, {});
}

void check_split(Communicator& comm) {
  const int size = comm.size();
  const int regions_of_replica = size % 2 == 0 ? size / 2 : size;
  const int replica = comm.rank() / regions_of_replica;
  const int region = comm.rank() % regions_of_replica;
  const auto regions = comm.split(replica, region, "regions");
  const auto replicas = comm.split(region, replica, "replicas");
  GHOST_CHECK(regions->rank() == region && regions->size() == regions_of_replica &&
                  regions->name() == "regions",
              "split: rank {} has rank {} of {}", comm.rank(), regions->rank(), regions->size());
  GHOST_CHECK(replicas->rank() == replica && replicas->size() == size / regions_of_replica,
              "split: rank {} has rank {} of {}", comm.rank(), replicas->rank(), replicas->size());
  const Tensor x(make_allocator(Device{}), {1}, DType::kF64, MemoryTag::kWorkspace);
  double in_region = 0;
  for (int other = 0; other < regions_of_replica; ++other) {
    in_region += replica * regions_of_replica + other;
  }
  x.data<double>()[0] = comm.rank();
  regions->all_reduce(x);
  GHOST_CHECK(x.data<double>()[0] == in_region, "all_reduce in regions: {}; expected {}",
              x.data<double>()[0], in_region);
  check_all_gather(*replicas);
  check_all_reduce(*regions);

  const auto reversed = comm.split(0, -comm.rank(), "reversed");
  GHOST_CHECK(reversed->rank() == size - 1 - comm.rank(), "split by key: rank {} became {}",
              comm.rank(), reversed->rank());
  check_broadcast(*reversed);
  const auto alone = comm.split(comm.rank(), 0, "alone");
  GHOST_CHECK(alone->size() == 1, "split: a group of {}; expected 1", alone->size());
  check_all_reduce(*alone);
  const auto again = reversed->split(reversed->rank() % 2, 0, "again");
  check_send_recv(*again);
}

void check_communicator(Communicator& comm) {
  check_send_recv(comm);
  check_broadcast(comm);
  check_all_gather(comm);
  check_all_reduce(comm);
  check_reduce(comm);
  check_barrier(comm);
  check_counts(comm);
  check_split(comm);
}

}  // namespace ghost::test
