#include "engine/tensor/host.h"

#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

TEST_CASE("on a CPU the host reads and writes the tensor itself", "[tensor]") {
  const Tensor x = test::normal({33}, 1);
  const auto before = test::values_of(x);
  CHECK(on_host(x).raw() == x.raw());
  const Tensor place = host_place(x);
  CHECK(place.raw() == x.raw());
  copy(x, place);
  CHECK(test::values_of(x) == before);
  CHECK(to_device(x, make_allocator(Device{}), MemoryTag::kWorkspace).raw() == x.raw());
}

TEST_CASE("a dry tensor has no elements to bring to the host", "[tensor]") {
  const auto allocator = make_allocator(Device{.is_dry = true});
  const Tensor x(allocator, {1000}, DType::kF32, MemoryTag::kWorkspace);
  CHECK(on_host(x).raw() == nullptr);
  CHECK(host_place(x).device().is_dry);
  const Tensor planned = to_device(test::normal({5}, 1), allocator, MemoryTag::kBatch);
  CHECK(planned.device().is_dry);
  CHECK(allocator->meter().current(MemoryTag::kBatch) == 64);
}

}  // namespace
}  // namespace ghost
