#include "tools/monitor/alarm_rules.h"

#include <cmath>
#include <functional>
#include <limits>

#include "engine/core/error.h"
#include "engine/random/philox.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A run of one module as it goes when nothing is wrong: the loss falls, activations drift and
/// jitter, the gradient is noisy and shrinks with the loss.
struct Observation {
  double loss = 0;
  ModuleNumbers module;
};

double noise(std::int64_t step, std::int64_t site) {
  const RandomStream stream{.seed = 7, .step = step, .site = site};
  const Philox::Words words = stream.words(0);
  return normal_pair(words[0], words[1])[0];
}

Observation healthy(std::int64_t step) {
  const auto x = static_cast<double>(step);
  const double loss = (2.3 * std::exp(-x / 300) + 0.01) * std::exp(0.1 * noise(step, 0));
  // The start of an average: noise of a single batch, less and less of it.
  const double start = 1.2 * std::exp(-x / 20);
  return {.loss = loss,
          .module = {.log_z_fro = 4 + 0.5 * std::log1p(x / 100) + start + 0.05 * noise(step, 1),
                     .y_stable_rank = 1.3,
                     .row_spread = 0.4,
                     .output_norm = std::exp(3 + 0.05 * noise(step, 2)),
                     .grad_norm = 0.3 * loss * std::exp(0.5 * noise(step, 3)),
                     .weight_norm = 30}};
}

struct Outcome {
  std::vector<std::int64_t> on;  // steps at which alarms of a kind went on
  std::vector<std::int64_t> off;
  std::string detail;
  std::size_t others = 0;  // changes of other kinds
};

/// Observes steps 1, 1 + every, ... with `change` made to a healthy run.
Outcome observe(AlarmKind kind, const std::function<void(std::int64_t, Observation&)>& change,
                std::int64_t steps, std::int64_t every = 1, const AlarmConfig& config = {}) {
  RunHistory run;
  std::vector<ModuleHistory> histories(1);
  Outcome outcome;
  for (std::int64_t step = 1; step <= steps; step += every) {
    Observation observation = healthy(step);
    change(step, observation);
    for (const Alarm& alarm :
         judge(config, step, observation.loss, {&observation.module, 1}, run, histories)) {
      if (alarm.kind != kind) {
        ++outcome.others;
      } else if (alarm.is_on) {
        outcome.on.push_back(step);
        outcome.detail = alarm.detail;
        CHECK(alarm.is_first == (outcome.on.size() == 1));
      } else {
        outcome.off.push_back(step);
      }
    }
  }
  return outcome;
}

void nothing(std::int64_t /*step*/, Observation& /*observation*/) {}

TEST_CASE("a healthy run raises no alarm", "[tools]") {
  for (const std::int64_t every : {1, 10}) {
    const Outcome outcome = observe(AlarmKind::kNonFinite, nothing, 3000, every);
    CHECK(outcome.on.empty());
    CHECK(outcome.others == 0);
  }
}

TEST_CASE("a gradient that is tiny beside the loss is vanishing", "[tools]") {
  for (const std::int64_t every : {1, 10}) {
    CAPTURE(every);
    const Outcome outcome = observe(
        AlarmKind::kVanishing,
        [](std::int64_t, Observation& now) {
          now.loss = 2.3;
          now.module.grad_norm = 1e-12;
        },
        200, every);
    REQUIRE(outcome.on.size() == 1);
    CHECK(outcome.on[0] == 31);
    CHECK(outcome.detail == "|gradient| |weight| / loss is 1.3e-11, below 1e-05 for 30 steps");
  }
}

TEST_CASE("a gradient that shrinks with the loss is not vanishing", "[tools]") {
  const Outcome outcome = observe(
      AlarmKind::kVanishing,
      [](std::int64_t step, Observation& now) {
        const double share = std::exp(-static_cast<double>(step) / 40);
        now.loss = 2.3 * share;
        now.module.grad_norm = 0.1 * share;
      },
      1000);
  CHECK(outcome.on.empty());
}

TEST_CASE("activations far from their mean for ten steps are vanishing or exploding", "[tools]") {
  const auto shift = [](double by, std::int64_t steps) {
    return [=](std::int64_t step, Observation& now) {
      now.module.log_z_fro += step > 500 && step <= 500 + steps ? by : 0;
    };
  };
  const Outcome down = observe(AlarmKind::kVanishing, shift(-3, 1000), 700);
  REQUIRE(down.on.size() == 1);
  CHECK(down.on[0] == 511);
  CHECK(down.detail.find("below its mean, whose deviation is") != std::string::npos);
  const Outcome up = observe(AlarmKind::kExploding, shift(3, 1000), 700);
  REQUIRE(up.on.size() == 1);
  CHECK(up.on[0] == 511);
  CHECK(up.off.size() == 1);  // the mean has followed
  CHECK(observe(AlarmKind::kExploding, shift(3, 8), 700).on.empty());
  CHECK(observe(AlarmKind::kExploding, shift(1, 1000), 700).on.empty());
}

TEST_CASE("gradients too large for the loss are exploding", "[tools]") {
  const Outcome outcome = observe(
      AlarmKind::kExploding, [](std::int64_t, Observation& now) { now.module.grad_norm = 1e3; },
      100);
  REQUIRE(outcome.on.size() == 1);
  CHECK(outcome.on[0] == 31);
}

TEST_CASE("a loss above its first is exploding where outputs have grown", "[tools]") {
  const auto diverge = [](double growth) {
    return [=](std::int64_t step, Observation& now) {
      now.loss = step > 3 ? 40 : now.loss;
      now.module.grad_norm = 0.01;
      now.module.output_norm *= step > 3 ? growth : 1;
    };
  };
  const Outcome outcome = observe(AlarmKind::kExploding, diverge(20), 200, 10);
  REQUIRE(outcome.on.size() == 1);
  CHECK(outcome.on[0] == 41);
  CHECK(observe(AlarmKind::kExploding, diverge(1), 200, 10).on.empty());
}

TEST_CASE("a loss that never falls is stagnation", "[tools]") {
  const auto stuck = [](std::int64_t step, Observation& now) {
    now.loss = 2.3 + 0.01 * noise(step, 0);
    now.module.log_z_fro = 4;
  };
  const Outcome outcome = observe(AlarmKind::kStagnation, stuck, 1000);
  REQUIRE(outcome.on.size() == 1);
  CHECK(outcome.on[0] >= 500);
  CHECK(outcome.on[0] < 700);
  // The plateau of a run that has learned is none.
  const auto plateau = [](std::int64_t step, Observation& now) {
    now.loss = step < 100 ? 2.3 : 1.2 + 0.01 * noise(step, 0);
    now.module.log_z_fro = 4;
  };
  CHECK(observe(AlarmKind::kStagnation, plateau, 3000).on.empty());
}

TEST_CASE("equal rows of rank one are a collapse", "[tools]") {
  const auto collapse = [](double rank, double spread) {
    return [=](std::int64_t, Observation& now) {
      now.module.y_stable_rank = rank;
      now.module.row_spread = spread;
    };
  };
  const Outcome outcome = observe(AlarmKind::kCollapse, collapse(1.0001, 1e-9), 200, 10);
  REQUIRE(outcome.on.size() == 1);
  CHECK(outcome.on[0] == 51);
  // An average over batches alone tends to rank one: its rows must be equal as well.
  CHECK(observe(AlarmKind::kCollapse, collapse(1.0001, 0.2), 200).on.empty());
  CHECK(observe(AlarmKind::kCollapse, collapse(2, 1e-9), 200).on.empty());
}

TEST_CASE("what is not finite raises an alarm at once, and once", "[tools]") {
  for (int which = 0; which < 3; ++which) {
    const Outcome outcome = observe(
        AlarmKind::kNonFinite,
        [=](std::int64_t step, Observation& now) {
          if (step >= 20 && step < 30) {
            (which == 0   ? now.loss
             : which == 1 ? now.module.output_norm
                          : now.module.grad_norm) = which == 0 ? std::nan("") : kInfinity;
          }
        },
        60);
    CAPTURE(which);
    CHECK(outcome.on == std::vector<std::int64_t>{20});
    CHECK(outcome.off == std::vector<std::int64_t>{30});
  }
}

TEST_CASE("bounds of alarms are checked", "[tools]") {
  AlarmConfig config;
  config.jump = 0.5;
  REQUIRE_THROWS_AS(config.validate("monitor.alarms."), ConfigError);
  try {
    config.validate("monitor.alarms.");
  } catch (const ConfigError& error) {
    CHECK(std::string(error.what()) == "monitor.alarms.jump is 0.5; expected 1 or more");
  }
}

}  // namespace
}  // namespace ghost
