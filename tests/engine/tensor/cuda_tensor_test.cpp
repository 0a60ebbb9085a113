#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"
#include "tests/support/op_check.h"

namespace ghost {
namespace {

using test::shared_allocator;
using test::values_of;

constexpr auto kTag = MemoryTag::kWorkspace;
constexpr std::int64_t kSizes[] = {1, 7, 8, 33, 257, (1 << 14) + 3};

Tensor make(const Device& device, std::int64_t size, DType dtype) {
  return Tensor(shared_allocator(device), {size}, dtype, kTag);
}

/// Normal numbers on a device; in bf16 and f32 the rounded ones.
Tensor draw(const Device& device, std::int64_t size, DType dtype, std::uint64_t seed) {
  const Tensor rounded = make(Device{}, size, dtype);
  cast(rounded, test::normal({size}, seed));
  return to_device(rounded, shared_allocator(device), kTag);
}

TEST_CASE("copies reach a GPU and come back", "[tensor][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    // One byte, a slot of the pinned ring and its neighbours, more than the whole ring.
    for (const std::int64_t size : {1, (4 << 20) - 1, (4 << 20) + 1, (36 << 20) + 5}) {
      const Tensor sent = make(Device{}, size, DType::kU8);
      for (std::int64_t i = 0; i < size; ++i) {
        sent.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 7 + i / 251);
      }
      const Tensor there = to_device(sent, shared_allocator(device), kTag);
      const Tensor twice = make(device, size, DType::kU8);
      copy(twice, there);
      const Tensor back = on_host(twice);
      CHECK(std::equal(sent.data<std::uint8_t>(), sent.data<std::uint8_t>() + size,
                       back.data<std::uint8_t>()));
    }
  }
}

TEST_CASE("what was sent to a GPU may change at once", "[tensor][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    const Tensor sent = make(Device{}, 1000, DType::kI32);
    Tensors there;
    for (std::int32_t i = 0; i < 40; ++i) {
      std::fill_n(sent.data<std::int32_t>(), 1000, i);
      there.push_back(make(device, 1000, DType::kI32));
      copy(there.back(), sent);
    }
    for (std::int32_t i = 0; i < 40; ++i) {
      const Tensor back = on_host(there[static_cast<std::size_t>(i)]);
      CHECK(back.data<std::int32_t>()[0] == i);
      CHECK(back.data<std::int32_t>()[999] == i);
    }
  }
}

TEST_CASE("primitives on a GPU are those of the CPU", "[tensor][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    for (const DType dtype : {DType::kF32, DType::kF64}) {
      for (const std::int64_t size : kSizes) {
        INFO(dtype_name(dtype) << " " << size);
        const Tensor x = draw(device, size, dtype, 1);
        const Tensor y = draw(device, size, dtype, 2);
        const Tensor x_cpu = draw(Device{}, size, dtype, 1);
        const Tensor y_cpu = draw(Device{}, size, dtype, 2);
        accumulate(x, y);
        accumulate(x_cpu, y_cpu);
        CHECK(values_of(x) == values_of(x_cpu));
        scale(x, 0.3);
        scale(x_cpu, 0.3);
        CHECK(values_of(x) == values_of(x_cpu));
        CHECK(item(x.slice(size - 1, size)) == values_of(x_cpu).back());
        fill(x, 2.5);
        CHECK(values_of(x) == std::vector<double>(static_cast<std::size_t>(size), 2.5));
        fill_zero(x);
        CHECK(values_of(x) == std::vector<double>(static_cast<std::size_t>(size), 0.0));
      }
    }
  }
}

// Slices that begin anywhere take the way without wide accesses.
TEST_CASE("casts on a GPU are those of the CPU", "[tensor][cuda]") {
  constexpr DType kDTypes[] = {DType::kF32, DType::kBF16, DType::kF64};
  for (const Device& device : test::cuda_devices()) {
    for (const DType from : kDTypes) {
      for (const DType to : kDTypes) {
        for (const std::int64_t size : kSizes) {
          for (const std::int64_t begin : {std::int64_t{0}, size / 3}) {
            INFO(dtype_name(from) << " to " << dtype_name(to) << ", [" << begin << ", " << size
                                  << ")");
            const Tensor out = make(device, size, to);
            const Tensor out_cpu = make(Device{}, size, to);
            cast(out.slice(begin, size), draw(device, size, from, 3).slice(begin, size));
            cast(out_cpu.slice(begin, size), draw(Device{}, size, from, 3).slice(begin, size));
            CHECK(values_of(out.slice(begin, size)) == values_of(out_cpu.slice(begin, size)));
          }
        }
      }
    }
  }
}

TEST_CASE("bf16 adds into f32 on a GPU", "[tensor][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    const Tensor sum = draw(device, 257, DType::kF32, 1);
    const Tensor term = draw(device, 257, DType::kBF16, 2);
    const auto before = values_of(sum);
    const auto added = values_of(term);
    accumulate(sum, term);
    const auto after = values_of(sum);
    for (std::size_t i = 0; i < after.size(); ++i) {
      CHECK(after[i] ==
            static_cast<double>(static_cast<float>(before[i]) + static_cast<float>(added[i])));
    }
  }
}

TEST_CASE("GPU memory is metered, reused and refused by name", "[memory][cuda]") {
  for (const Device& device : test::cuda_devices()) {
    const auto allocator = make_allocator(device);
    {
      const Tensor x(allocator, {1 << 20}, DType::kF32, MemoryTag::kResiduals);
      CHECK(allocator->meter().current(MemoryTag::kResiduals) == 4 << 20);
    }
    const std::int64_t taken = allocator->num_system_allocations();
    const Tensor again(allocator, {1 << 20}, DType::kF32, kTag);
    CHECK(allocator->num_system_allocations() == taken);
    CHECK(allocator->reserved_bytes() >= 4 << 20);
    CHECK_THROWS_WITH(
        Tensor(allocator, {std::int64_t{1} << 50}, DType::kF32, kTag),
        test::contains_text("out of memory on " + device.name() + ": asked for 4294967296.0 MiB"));
    fill(again, 1);  // the device works on
    CHECK(values_of(again).back() == 1);
  }
}

}  // namespace
}  // namespace ghost
