#include <algorithm>
#include <vector>

#include "engine/comm/nccl/nccl_communicator.h"
#include "engine/comm/thread_communicator.h"
#include "engine/tensor/host.h"
#include "tests/support/catch.h"
#include "tests/support/communicator_cases.h"
#include "tests/support/devices.h"

namespace ghost {
namespace {

Tensor ones(const std::shared_ptr<Allocator>& allocator, std::int64_t n, float value) {
  const Tensor x(make_allocator(Device{}), {n}, DType::kF32, MemoryTag::kWorkspace);
  std::fill_n(x.data<float>(), n, value);
  return to_device(x, allocator, MemoryTag::kWorkspace);
}

void expect_all(const Tensor& x, float value) {
  const Tensor host = on_host(x);
  for (const float element : host.span<float>()) {
    GHOST_CHECK(element == value, "{}; expected {}", element, value);
  }
}

}  // namespace

TEST_CASE("Tensors of a GPU go through host memory", "[comm][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    REQUIRE_NOTHROW(run_ranks(3, {}, [&](Communicator& comm) {
      const auto allocator = make_allocator(device);
      for (const std::int64_t n : {std::int64_t{1}, std::int64_t{100'003}}) {
        const auto own = static_cast<float>(comm.rank() + 1);
        const Tensor x = ones(allocator, n, own);
        comm.all_reduce(x);
        expect_all(x, 6.0F);
        const Tensor y = ones(allocator, n, own);
        comm.broadcast(y, 2);
        expect_all(y, 3.0F);
        const Tensor out = ones(allocator, 3 * n, 0.0F);
        comm.all_gather(ones(allocator, n, own), out);
        expect_all(out.slice(n, 2 * n), 2.0F);
        const Tensor z = ones(allocator, n, own);
        comm.reduce(z, 1);
        expect_all(z, comm.rank() == 1 ? 6.0F : own);
      }
    }));
  }
}

TEST_CASE("One rank has every operation over NCCL", "[comm][cuda]") {
  if constexpr (kHasNccl) {
    for (const Device& device : test::cuda_devices()) {
      const auto world = make_nccl_world({}, device, {});
      REQUIRE_NOTHROW(test::check_communicator(*world));
    }
  }
}

}  // namespace ghost
