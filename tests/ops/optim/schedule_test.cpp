#include "ops/optim/schedule.h"

#include "engine/core/error.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

// Peak 1, warmup 9, ends at 0.1; a run of 109 steps decays over 100.
ScheduleConfig schedule_of(ScheduleKind kind) {
  return {.kind = kind, .peak = 1.0, .warmup_steps = 9, .final_fraction = 0.1};
}

double rate(ScheduleKind kind, std::int64_t step) {
  return learning_rate(schedule_of(kind), step, 109);
}

TEST_CASE("every schedule warms up in a straight line", "[optim]") {
  for (const auto& [kind, name] : EnumNames<ScheduleKind>::kNames) {
    INFO(name);
    CHECK(rate(kind, 0) == Approx(0.1).epsilon(1e-14));
    CHECK(rate(kind, 8) == Approx(0.9).epsilon(1e-14));
    CHECK(rate(kind, 9) == Approx(1.0).epsilon(1e-14));
  }
}

TEST_CASE("schedules without warmup start at the peak", "[optim]") {
  for (const auto& [kind, name] : EnumNames<ScheduleKind>::kNames) {
    INFO(name);
    ScheduleConfig schedule = schedule_of(kind);
    schedule.warmup_steps = 0;
    CHECK(learning_rate(schedule, 0, 100) == 1.0);
  }
}

TEST_CASE("constant stays at the peak", "[optim]") {
  CHECK(rate(ScheduleKind::kConstant, 50) == 1.0);
  CHECK(rate(ScheduleKind::kConstant, 1000) == 1.0);
}

TEST_CASE("linear and cosine fall from the peak to the end value", "[optim]") {
  CHECK(rate(ScheduleKind::kLinear, 34) == Approx(1 - 0.9 * 0.25).epsilon(1e-14));
  CHECK(rate(ScheduleKind::kLinear, 59) == Approx(0.55).epsilon(1e-14));
  // (1 + cos(pi / 4)) / 2 of the way up at a quarter of the run
  CHECK(rate(ScheduleKind::kCosine, 34) == Approx(0.1 + 0.9 * 0.85355339059327376).epsilon(1e-14));
  CHECK(rate(ScheduleKind::kCosine, 59) == Approx(0.55).epsilon(1e-14));
  for (const ScheduleKind kind : {ScheduleKind::kLinear, ScheduleKind::kCosine}) {
    CHECK(rate(kind, 108) > 0.1);
    CHECK(rate(kind, 109) == Approx(0.1).epsilon(1e-14));
    CHECK(rate(kind, 100000) == Approx(0.1).epsilon(1e-14));
  }
}

TEST_CASE("wsd is flat and then falls in a straight line", "[optim]") {
  ScheduleConfig schedule = schedule_of(ScheduleKind::kWsd);
  schedule.decay_steps = 20;
  CHECK(learning_rate(schedule, 79, 100) == 1.0);
  CHECK(learning_rate(schedule, 80, 100) == 1.0);
  CHECK(learning_rate(schedule, 90, 100) == Approx(0.55).epsilon(1e-14));
  CHECK(learning_rate(schedule, 100, 100) == Approx(0.1).epsilon(1e-14));

  schedule.decay_steps.reset();  // a fifth of the run
  CHECK(learning_rate(schedule, 80, 100) == 1.0);
  CHECK(learning_rate(schedule, 90, 100) == Approx(0.55).epsilon(1e-14));

  schedule.decay_steps = 0;
  CHECK(learning_rate(schedule, 99, 100) == 1.0);

  schedule.decay_steps = 1000;  // begins where the warmup ends
  CHECK(learning_rate(schedule, 8, 109) == Approx(0.9).epsilon(1e-14));
  CHECK(learning_rate(schedule, 59, 109) == Approx(0.55).epsilon(1e-14));
}

TEST_CASE("a run shorter than its warmup only warms up", "[optim]") {
  for (const auto& [kind, name] : EnumNames<ScheduleKind>::kNames) {
    INFO(name);
    CHECK(learning_rate(schedule_of(kind), 4, 5) == Approx(0.5).epsilon(1e-14));
  }
}

TEST_CASE("schedule refuses values out of range", "[optim]") {
  ScheduleConfig schedule;
  CHECK_NOTHROW(schedule.validate("schedule."));
  schedule = {.peak = 0};
  CHECK_THROWS_WITH(schedule.validate("schedule."),
                    "schedule.peak is 0; expected a positive number");
  schedule = {.warmup_steps = -1};
  CHECK_THROWS_WITH(schedule.validate("schedule."),
                    "schedule.warmup_steps is -1; expected an integer >= 0");
  schedule = {.final_fraction = 1.5};
  CHECK_THROWS_WITH(schedule.validate("schedule."),
                    "schedule.final_fraction is 1.5; expected a number from 0 to 1");
  schedule = {.decay_steps = -5};
  CHECK_THROWS_WITH(schedule.validate("schedule."),
                    "schedule.decay_steps is -5; expected an integer >= 0");
}

}  // namespace
}  // namespace ghost
