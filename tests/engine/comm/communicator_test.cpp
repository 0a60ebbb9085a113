#include "engine/comm/communicator.h"

#include <atomic>
#include <thread>

#include "engine/comm/self_communicator.h"
#include "engine/comm/thread_communicator.h"
#include "tests/support/catch.h"
#include "tests/support/communicator_cases.h"

namespace ghost {
namespace {

using test::contains_text;

const CommOptions kPatient{.timeout = std::chrono::seconds(60)};
const CommOptions kHasty{.timeout = std::chrono::milliseconds(150)};

Tensor floats(std::int64_t n) {
  const Tensor x(make_allocator(Device{}), {n}, DType::kF32, MemoryTag::kWorkspace);
  std::fill_n(x.data<float>(), n, 1.0F);
  return x;
}

}  // namespace

TEST_CASE("One rank has every operation", "[comm]") {
  SelfCommunicator self;
  CHECK(self.rank() == 0);
  CHECK(self.size() == 1);
  REQUIRE_NOTHROW(test::check_communicator(self));
}

TEST_CASE("One rank takes tensors without elements", "[comm]") {
  SelfCommunicator self;
  const Tensor x(make_allocator({.is_dry = true}), {3}, DType::kF32, MemoryTag::kGradients);
  REQUIRE_NOTHROW(self.all_reduce(x));
  REQUIRE_NOTHROW(self.broadcast(x, 0));
  REQUIRE_NOTHROW(self.all_gather(x, x));
}

TEST_CASE("Threads have every operation", "[comm]") {
  const int size = GENERATE(1, 2, 3, 5);
  REQUIRE_NOTHROW(run_ranks(size, kPatient, test::check_communicator));
}

TEST_CASE("Six threads form a grid of 2 x 3", "[comm]") {
  REQUIRE_NOTHROW(run_ranks(6, kPatient, test::check_split));
}

TEST_CASE("A barrier holds every rank until the last has come", "[comm]") {
  std::atomic<int> num_arrived = 0;
  run_ranks(4, kPatient, [&](Communicator& comm) {
    if (comm.rank() == 2) {
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
    }
    ++num_arrived;
    comm.barrier();
    GHOST_CHECK(num_arrived == 4, "{} ranks had arrived; expected 4", num_arrived.load());
  });
}

TEST_CASE("Sums take memory of tag comm, and give it back", "[comm]") {
  run_ranks(3, kPatient, [](Communicator& comm) {
    const auto allocator = make_allocator(Device{});
    const Tensor x(allocator, {30'000}, DType::kF32, MemoryTag::kGradients);
    std::fill_n(x.data<float>(), x.numel(), 1.0F);
    comm.all_reduce(x);
    const MemoryMeter& meter = allocator->meter();
    // A slice of 10,000 elements of each of 3 ranks.
    GHOST_CHECK(meter.peak(MemoryTag::kComm) == metered_bytes(120'000), "peak {}",
                meter.peak(MemoryTag::kComm));
    GHOST_CHECK(meter.current(MemoryTag::kComm) == 0, "left {}", meter.current(MemoryTag::kComm));
  });
}

TEST_CASE("A rank that does not come is named", "[comm]") {
  const auto without_last = [](auto body) {
    return [body](Communicator& comm) {
      if (comm.rank() + 1 < comm.size()) {
        body(comm);
      }
    };
  };
  CHECK_THROWS_WITH(
      run_ranks(2, kHasty, without_last([](Communicator& comm) { comm.recv(floats(4), 1); })),
      "recv in world: rank 0 of 2 waited 0.15 s for rank 1; expected it to send 16 "
      "bytes");
  CHECK_THROWS_WITH(
      run_ranks(2, kHasty, without_last([](Communicator& comm) { comm.send(floats(4), 1); })),
      "send in world: rank 0 of 2 waited 0.15 s for rank 1; expected it to receive "
      "16 bytes");
  for (const auto& [op, body] : std::vector<std::pair<std::string, void (*)(Communicator&)>>{
           {"broadcast", [](Communicator& comm) { comm.broadcast(floats(4), 2); }},
           {"all_gather", [](Communicator& comm) { comm.all_gather(floats(4), floats(12)); }},
           {"reduce", [](Communicator& comm) { comm.reduce(floats(4), 0); }},
           {"all_reduce", [](Communicator& comm) { comm.all_reduce(floats(50'000)); }},
           {"barrier", [](Communicator& comm) { comm.barrier(); }},
           {"split", [](Communicator& comm) { comm.split(0, 0, "part"); }}}) {
    CHECK_THROWS_WITH(run_ranks(3, kHasty, without_last(body)),
                      contains_text(op + " in world: rank ") &&
                          contains_text(" of 3 waited 0.15 s for rank 2; expected it to "));
  }
}

TEST_CASE("A rank that fails frees those that wait for it", "[comm]") {
  std::string seen;
  CHECK_THROWS_WITH(run_ranks(2, kPatient,
                              [&](Communicator& comm) {
                                if (comm.rank() == 1) {
                                  fail("no memory left");
                                }
                                try {
                                  comm.all_reduce(floats(4));
                                } catch (const Error& error) {
                                  seen = error.what();
                                  throw;
                                }
                              }),
                    "no memory left");
  CHECK(seen ==
        "all_reduce in world: rank 0 of 2 waited for rank 1; expected it to send 16 bytes, but "
        "rank 1 of world failed: no memory left");
}

TEST_CASE("Ranks in different operations are told", "[comm]") {
  CHECK_THROWS_WITH(run_ranks(2, kPatient,
                              [](Communicator& comm) {
                                if (comm.rank() == 0) {
                                  comm.broadcast(floats(4), 1);
                                } else {
                                  comm.send(floats(3), 0);
                                }
                              }),
                    "broadcast in world: rank 0 of 2 got 12 bytes for send of f32 from rank 1; "
                    "expected 16 bytes for broadcast of f32");
  CHECK_THROWS_WITH(
      run_ranks(2, kPatient, [](Communicator& comm) { comm.all_reduce(floats(4 + comm.rank())); }),
      contains_text("all_reduce in world: rank ") &&
          contains_text(" bytes for all_reduce of f32 from rank "));
}

TEST_CASE("Operations of a communicator refuse what they cannot do", "[comm]") {
  SelfCommunicator self;
  const Tensor x = floats(4);
  CHECK_THROWS_WITH(self.send(x, 1),
                    "send in world: rank 0 of 1: the receiver is 1; expected a rank from 0 to 0");
  CHECK_THROWS_WITH(self.send(x, 0),
                    "send in world: rank 0 of 1: the receiver is this rank; expected another");
  CHECK_THROWS_WITH(self.recv(x, -1),
                    "recv in world: rank 0 of 1: the sender is -1; expected a rank from 0 to 0");
  CHECK_THROWS_WITH(self.recv(x, 0),
                    "recv in world: rank 0 of 1: the sender is this rank; expected another");
  CHECK_THROWS_WITH(self.broadcast(x, 3),
                    "broadcast in world: rank 0 of 1: the root is 3; expected a rank from 0 to 0");
  CHECK_THROWS_WITH(self.all_reduce({}),
                    "all_reduce in world: rank 0 of 1: the tensor is undefined");
  CHECK_THROWS_WITH(
      self.all_gather(x, floats(5)),
      "all_gather in world: rank 0 of 1: f32 [4] on cpu into f32 [5] on cpu; expected "
      "1 times as many elements, equal dtype and device");
  CHECK_THROWS_WITH(self.split(-1, 0, "part"),
                    "split in world: rank 0 of 1: the colour is -1; expected 0 or more");
  const Tensor ids(make_allocator(Device{}), {4}, DType::kI32, MemoryTag::kBatch);
  CHECK_THROWS_WITH(self.all_reduce(ids),
                    "all_reduce in world: rank 0 of 1: a sum of i32; expected f32, f64 or bf16");
  CHECK_THROWS_WITH(
      run_ranks(2, kPatient,
                [](Communicator& comm) {
                  comm.all_reduce(Tensor(make_allocator({.is_dry = true}), {3}, DType::kF32,
                                         MemoryTag::kGradients));
                }),
      contains_text("of 2: the tensor lies on a dry device; expected one with elements"));
}

}  // namespace ghost
