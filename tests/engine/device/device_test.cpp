#include "engine/device/device.h"

#include "engine/core/error.h"
#include "engine/memory/allocator.h"
#include "tests/support/catch.h"
#include "tests/support/devices.h"

namespace ghost {
namespace {

TEST_CASE("devices have names", "[device]") {
  CHECK(Device{}.name() == "cpu");
  CHECK(Device{.type = DeviceType::kCuda, .index = 3}.name() == "cuda:3");
  CHECK(Device{.is_dry = true}.name() == "dry cpu");
  CHECK(Device{.type = DeviceType::kCuda, .index = 1, .is_dry = true}.name() == "dry cuda:1");
  CHECK_FALSE(Device{.is_dry = true} == Device{});
  CHECK(Device{} == Device{.type = DeviceType::kCpu});
  CHECK_FALSE(Device{.type = DeviceType::kCuda, .index = 1} ==
              Device{.type = DeviceType::kCuda, .index = 2});
}

TEST_CASE("parse_device reads cpu", "[device]") { CHECK(parse_device("cpu") == Device{}); }

TEST_CASE("parse_device reads cuda where there is a device", "[device]") {
  if (!kHasCuda) {
    CHECK_THROWS_WITH(parse_device("cuda"),
                      "device is \"cuda\"; this build has no CUDA backend, expected cpu");
    CHECK_THROWS_WITH(parse_device("cuda:0"),
                      "device is \"cuda:0\"; this build has no CUDA backend, expected cpu");
    CHECK_THROWS_WITH(make_allocator({.type = DeviceType::kCuda}),
                      "there is no allocator for cuda:0 in this build");
    return;
  }
  const auto devices = test::cuda_devices();
  for (const Device& device : devices) {
    CHECK(parse_device(device.name()) == device);
  }
  // One past the last device; without any, the reason why.
  const Device missing{.type = DeviceType::kCuda, .index = static_cast<int>(devices.size())};
  const std::string expected = devices.empty() ? "; expected cpu, as" : "; expected cpu or cuda:0";
  CHECK_THROWS_AS(parse_device(missing.name()), ConfigError);
  CHECK_THROWS_WITH(parse_device(missing.name()),
                    test::contains_text("device is \"" + missing.name() + "\"" + expected));
  CHECK_THROWS_WITH(make_allocator(missing),
                    test::contains_text("there is no " + missing.name() + expected));
}

TEST_CASE("parse_device refuses what is no device", "[device]") {
  for (const char* text : {"", "gpu", "CPU", "cpu:0", "dry", "cuda:", "cuda:x", "cuda:-1",
                           "cuda:1x", "cuda:1 ", "cuda:99999999999"}) {
    INFO(text);
    CHECK_THROWS_AS(parse_device(text), ConfigError);
    CHECK_THROWS_WITH(parse_device(text),
                      "device is \"" + std::string(text) + "\"; expected cpu, cuda or cuda:N");
  }
}

}  // namespace
}  // namespace ghost
