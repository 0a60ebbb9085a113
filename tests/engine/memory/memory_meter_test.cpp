#include "engine/memory/memory_meter.h"

#include <set>

#include "tests/support/catch.h"

namespace ghost {
namespace {

constexpr auto kA = MemoryTag::kResiduals;
constexpr auto kB = MemoryTag::kWorkspace;

TEST_CASE("every memory tag has a name of its own", "[memory]") {
  std::set<std::string_view> names;
  for (int i = 0; i < kNumMemoryTags; ++i) {
    names.insert(tag_name(static_cast<MemoryTag>(i)));
  }
  CHECK(names.size() == kNumMemoryTags);
  CHECK(names.count("") == 0);
  CHECK(tag_name(MemoryTag::kOptimizer) == "optimizer");
}

TEST_CASE("the meter follows bytes per tag and their peaks", "[memory]") {
  MemoryMeter meter;
  meter.add(kA, 100);
  meter.add(kB, 50);
  meter.remove(kA, 70);
  meter.add(kB, 10);
  CHECK(meter.current(kA) == 30);
  CHECK(meter.current(kB) == 60);
  CHECK(meter.peak(kA) == 100);
  CHECK(meter.peak(kB) == 60);
  CHECK(meter.total_current() == 90);
  CHECK(meter.total_peak() == 150);
  CHECK(meter.at_total_peak()[static_cast<std::size_t>(kA)] == 100);
  CHECK(meter.at_total_peak()[static_cast<std::size_t>(kB)] == 50);
}

TEST_CASE("retagging moves bytes and leaves the total alone", "[memory]") {
  MemoryMeter meter;
  meter.add(kB, 100);
  meter.retag(kB, kA, 60);
  CHECK(meter.current(kA) == 60);
  CHECK(meter.current(kB) == 40);
  CHECK(meter.peak(kA) == 60);
  CHECK(meter.peak(kB) == 100);
  CHECK(meter.total_current() == 100);
  CHECK(meter.total_peak() == 100);
  meter.retag(kA, kA, 60);
  CHECK(meter.current(kA) == 60);
  CHECK(meter.peak(kA) == 60);
}

TEST_CASE("peaks start again from what is in use", "[memory]") {
  MemoryMeter meter;
  meter.add(kA, 100);
  meter.remove(kA, 90);
  meter.reset_peaks();
  CHECK(meter.peak(kA) == 10);
  CHECK(meter.total_peak() == 10);
  meter.add(kB, 5);
  CHECK(meter.total_peak() == 15);
  CHECK(meter.at_total_peak()[static_cast<std::size_t>(kA)] == 10);
}

}  // namespace
}  // namespace ghost
