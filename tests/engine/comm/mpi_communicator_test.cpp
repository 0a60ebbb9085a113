#include "engine/comm/mpi/mpi_communicator.h"

#include <algorithm>
#include <cstdio>

#include "tests/support/catch.h"
#include "tests/support/communicator_cases.h"

// These run on every rank of `mpirun -n 2` and `-n 4` (ctest -L mpi), each with its own Catch.
namespace ghost {
namespace {

using test::contains_text;

/// Null, said on stderr, where no launcher started this program.
Communicator* world() {
  if (!kHasMpi || !is_mpi_job()) {
    std::fputs("skipped: expected a build with MPI under mpirun -n 2 or more\n", stderr);
    return nullptr;
  }
  if constexpr (kHasMpi) {
    static const std::unique_ptr<Communicator> comm =
        make_mpi_world({.timeout = std::chrono::seconds(30)});
    return comm.get();
  }
  return nullptr;
}

Tensor floats(std::int64_t n) {
  const Tensor x(make_allocator(Device{}), {n}, DType::kF32, MemoryTag::kWorkspace);
  std::fill_n(x.data<float>(), n, 1.0F);
  return x;
}

}  // namespace

TEST_CASE("Processes have every operation", "[comm][mpi]") {
  Communicator* comm = world();
  if (comm == nullptr) {
    return;
  }
  CHECK(comm->size() >= 2);
  CHECK(comm->name() == "world");
  REQUIRE_NOTHROW(test::check_communicator(*comm));
}

TEST_CASE("A process that does not come is named", "[comm][mpi]") {
  Communicator* comm = world();
  if (comm == nullptr) {
    return;
  }
  const auto hasty_group = [comm] {
    auto group = comm->split(0, 0, "late");
    group->set_timeout(std::chrono::milliseconds(100));
    return group;
  };
  const std::string begin = fmt::format("recv in late: rank 0 of {} ", comm->size());
  const auto check_recv = [&](const Tensor& sent, const std::string& message) {
    const auto group = hasty_group();
    if (group->rank() == 0) {
      comm->barrier();  // what rank 1 sends is there
      CHECK_THROWS_WITH(group->recv(floats(4), 1), begin + message);
    } else {
      if (group->rank() == 1 && sent.defined()) {
        group->send(sent, 0);
      }
      comm->barrier();
    }
    comm->barrier();
  };
  check_recv({}, "waited 0.1 s for rank 1; expected it to send 16 bytes");
  check_recv(floats(3), "got 12 bytes for send of f32 from rank 1; expected 16 bytes");
  check_recv(floats(5), "got more than 16 bytes for send of f32 from rank 1; expected 16 bytes");
  check_recv(Tensor(make_allocator(Device{}), {1}, DType::kF64, MemoryTag::kWorkspace),
             "waited 0.1 s for rank 1; expected it to send 16 bytes for send of f32, but it sent 8 "
             "bytes for send of f64");

  // All collectives name the rank that is missing.
  const auto group = hasty_group();
  if (group->rank() == 0) {
    CHECK_THROWS_WITH(group->all_reduce(floats(50'000)),
                      contains_text("all_reduce in late: rank 0 of ") &&
                          contains_text(" waited 0.1 s for rank 1; expected it to send "));
  }
  comm->barrier();
}

TEST_CASE("MPI is started once a process", "[comm][mpi]") {
  if (world() == nullptr) {
    return;
  }
  if constexpr (kHasMpi) {
    CHECK_THROWS_WITH(make_mpi_world({}), "MPI was started before; expected one world a process");
  }
}

}  // namespace ghost
