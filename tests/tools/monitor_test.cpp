#include "tools/monitor/monitor.h"

#include <cmath>
#include <map>
#include <string>

#include "engine/tensor/primitives.h"
#include "models/module.h"
#include "ops/linear.h"
#include "tests/support/catch.h"
#include "tools/monitor/monitor_text.h"

namespace ghost {
namespace {

/// Linears one after the other, of any widths.
struct Chain {
  Chain(const Device& device, std::vector<std::int64_t> layer_widths)
      : ctx(device), widths(std::move(layer_widths)) {
    for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
      weights.push_back(&parameters.declare("weight." + std::to_string(i),
                                            {widths[i + 1], widths[i]}, Decay::kYes,
                                            {.kind = InitKind::kNormal, .std = 0.3}));
    }
    parameters.materialize(ctx.allocator(), DType::kF64);
    parameters.initialize(1);
  }

  void forward(Context& with, Tensor x) const {
    for (std::size_t i = 0; i < weights.size(); ++i) {
      x = in_module(with, "layers." + std::to_string(i),
                    [&] { return linear(with, x, with.use(*weights[i]), {}); });
    }
  }

  Monitor monitor(const MonitorConfig& config, std::int64_t rows, std::int64_t micro_steps = 1) {
    return Monitor(ctx, parameters,
                   {.config = config, .seed = 5, .micro_steps = micro_steps, .dtype = DType::kF64},
                   [&](Context& dry) {
                     forward(dry, dry.empty({rows, widths.front()}, DType::kF64));
                   });
  }

  Tensor normal(const Shape& shape, std::int64_t seed) const {
    const Tensor out = ctx.empty(shape, DType::kF64);
    GaussianMatrix{.seed = static_cast<std::uint64_t>(seed), .id = 9, .columns = shape.back()}.draw(
        out);
    return out;
  }

  void set_gradients(std::int64_t seed, double scale_by) {
    for (std::size_t i = 0; i < weights.size(); ++i) {
      copy(weights[i]->grad, normal(weights[i]->shape, seed + static_cast<std::int64_t>(i)));
      scale(weights[i]->grad, scale_by);
    }
  }

  Context ctx;
  std::vector<std::int64_t> widths;
  ParameterStore parameters;
  std::vector<Parameter*> weights;
};

Tensor state_of(const Monitor& monitor, const std::string& name) {
  for (const NamedTensor& named : monitor.state()) {
    if (named.name == name) {
      return named.tensor;
    }
  }
  FAIL("no state " << name);
  return {};
}

MonitorRecord observe(Chain& chain, Monitor& monitor, const Tensors& batches, std::int64_t step) {
  monitor.begin_step();
  for (std::size_t i = 0; i < batches.size(); ++i) {
    std::optional<ActivationStatistics::Watch> watch;
    monitor.watch(watch, chain.ctx, static_cast<std::int64_t>(i));
    chain.forward(chain.ctx, batches[i]);
  }
  monitor.observe_gradients(chain.ctx);
  return monitor.finish(chain.ctx, step, /*loss=*/1);
}

double distance(const Tensor& a, const Tensor& b) {
  double largest = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    largest = std::max(largest, std::abs(a.data<double>()[i] - b.data<double>()[i]));
  }
  return largest;
}

TEST_CASE("sixteen layers of 1024 with rank 4 take 1,769,472 bytes of sketches", "[tools]") {
  Chain chain(Device{.is_dry = true}, std::vector<std::int64_t>(17, 1024));
  ParameterStore single;
  std::vector<Parameter*> weights;
  for (int i = 0; i < 16; ++i) {
    weights.push_back(&single.declare("w" + std::to_string(i), {1024, 1024}, Decay::kYes, {}));
  }
  single.materialize(chain.ctx.allocator(), DType::kF32);
  for (const std::int64_t rows : {16, 512}) {
    const Monitor monitor(chain.ctx, single, {.config = {.rank = 4}}, [&](Context& dry) {
      Tensor x = dry.empty({rows, 1024}, DType::kF32);
      for (std::size_t i = 0; i < weights.size(); ++i) {
        x = in_module(dry, "layers." + std::to_string(i),
                      [&] { return linear(dry, x, dry.use(*weights[i]), {}); });
      }
    });
    CHECK(monitor.modules().size() == 16);
    CHECK(monitor.bytes().activation_sketches == 1'769'472);
    CHECK(monitor.bytes().gradient_sketches == 16 * 1024 * 8 * 4);
    CHECK(monitor.bytes().rest < 16 * 512);
  }
}

TEST_CASE("a monitor's state does not grow in a thousand updates", "[tools]") {
  Chain chain(Device{}, {6, 9, 4});
  Monitor monitor = chain.monitor({.rank = 2}, /*rows=*/12);
  const std::int64_t bytes = monitor.bytes().total();
  const std::size_t tensors = monitor.state().size();
  chain.set_gradients(3, 1);
  const Tensor batch = chain.normal({12, 6}, 1);
  for (std::int64_t step = 0; step < 1000; ++step) {
    observe(chain, monitor, {batch}, step);
  }
  CHECK(monitor.bytes().total() == bytes);
  CHECK(monitor.state().size() == tensors);
  CHECK(bytes == 8 * (5 * (6 + 9) + 10 * (9 + 4) + 8 * (6 + 9)) + monitor.bytes().rest);
  CHECK(monitor.correlations().observations == 1000);
}

TEST_CASE("micro-steps are rows of one batch to a monitor", "[tools]") {
  Chain chain(Device{}, {6, 9, 4});
  const Tensor batch = chain.normal({24, 6}, 1);
  chain.set_gradients(3, 1);
  Monitor whole = chain.monitor({.beta = 0.5}, /*rows=*/24);
  Monitor halves = chain.monitor({.beta = 0.5}, /*rows=*/12, /*micro_steps=*/2);
  for (std::int64_t step = 0; step < 3; ++step) {
    const MonitorRecord one = observe(chain, whole, {batch}, step);
    const MonitorRecord two =
        observe(chain, halves, {batch.slice(0, 12), batch.slice(12, 24)}, step);
    for (std::size_t i = 0; i < 2; ++i) {
      CHECK(one.activations[i].act_norm == Approx(two.activations[i].act_norm));
      CHECK(one.activations[i].row_spread == Approx(two.activations[i].row_spread));
    }
  }
  for (const std::string name : {"layers.0.input", "layers.0.output", "layers.1.output"}) {
    CHECK(distance(state_of(whole, name + ".sketch"), state_of(halves, name + ".sketch")) < 1e-12);
  }
}

TEST_CASE("norms of a monitor are those of activations and gradients", "[tools]") {
  Chain chain(Device{}, {32, 40});
  Monitor monitor = chain.monitor({.rank = 16, .beta = 0.9, .gradient_columns = 32}, /*rows=*/64);
  const Tensor batch = chain.normal({64, 32}, 1);
  chain.set_gradients(3, 0.5);
  MonitorRecord record;
  for (std::int64_t step = 0; step < 5; ++step) {
    record = observe(chain, monitor, {batch}, step);
  }
  const auto norm = [](const Tensor& x) {
    double sum = 0;
    for (const double value : x.span<double>()) {
      sum += value * value;
    }
    return std::sqrt(sum);
  };
  const Tensor y = linear(chain.ctx, batch, chain.weights[0]->value, {});
  const ActivationNumbers& activation = record.activations[0];
  CHECK(activation.act_norm == Approx(norm(y)).epsilon(0.15));
  CHECK(activation.output_norm == Approx(norm(y)).epsilon(0.15));
  CHECK(activation.input_norm == Approx(norm(batch)).epsilon(0.15));
  CHECK(activation.row_spread == Approx(1).epsilon(0.15));
  CHECK(activation.y_stable_rank > 3);
  CHECK(activation.y_effective_rank <= 33);
  const GradientNumbers& gradient = record.gradients[0];
  CHECK(gradient.norm == Approx(norm(chain.weights[0]->grad)));
  CHECK(gradient.weight_norm == Approx(norm(chain.weights[0]->value)));
  // The same gradient each time is all signal.
  CHECK(gradient.mean_norm == Approx(gradient.norm).epsilon(0.15));
  CHECK(gradient.signal_share == Approx(1).epsilon(0.3));
}

TEST_CASE("gradients of no mean have little signal", "[tools]") {
  Chain chain(Device{}, {32, 40});
  Monitor monitor = chain.monitor({.beta = 0.95}, /*rows=*/8);
  const Tensor batch = chain.normal({8, 32}, 1);
  double share = 1;
  for (std::int64_t step = 0; step < 200; ++step) {
    chain.set_gradients(100 + step, 1);
    share = observe(chain, monitor, {batch}, step).gradients[0].signal_share;
  }
  CHECK(share < 0.06);  // (1 - beta) / (1 + beta) is 0.026
}

TEST_CASE("equal rows have no spread", "[tools]") {
  Chain chain(Device{}, {6, 9});
  Monitor monitor = chain.monitor({}, /*rows=*/16);
  const Tensor batch = chain.ctx.empty({16, 6}, DType::kF64);
  const Tensor row = chain.normal({1, 6}, 1);
  for (std::int64_t i = 0; i < 16; ++i) {
    copy(batch.slice(i, i + 1), row);
  }
  chain.set_gradients(3, 1);
  MonitorRecord record;
  for (std::int64_t step = 0; step < 60; ++step) {
    record = observe(chain, monitor, {batch}, step);
    if (!record.alarms.empty()) {
      break;
    }
  }
  CHECK(record.activations[0].row_spread < 1e-12);
  CHECK(record.activations[0].y_stable_rank == Approx(1));
  REQUIRE(record.alarms.size() == 1);
  CHECK(record.alarms[0].kind == AlarmKind::kCollapse);
  CHECK(record.step == 51);
  const auto lines = alarm_lines(record, monitor.modules());
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].starts_with("monitor: step 51: collapse in layers.0: stable rank of Y is 1"));
}

TEST_CASE("averages start again after a number that is not finite", "[tools]") {
  Chain chain(Device{}, {6, 9});
  Monitor monitor = chain.monitor({}, /*rows=*/4);
  chain.set_gradients(3, 1);
  const Tensor batch = chain.normal({4, 6}, 1);
  observe(chain, monitor, {batch}, 0);
  const Tensor broken = chain.normal({4, 6}, 1);
  broken.data<double>()[3] = std::nan("");
  const MonitorRecord bad = observe(chain, monitor, {broken}, 1);
  REQUIRE_FALSE(bad.alarms.empty());
  CHECK(bad.alarms[0].kind == AlarmKind::kNonFinite);
  const MonitorRecord good = observe(chain, monitor, {batch}, 2);
  CHECK(std::isfinite(good.activations[0].act_norm));
  CHECK(std::isfinite(good.activations[0].input_norm));
}

TEST_CASE("a glob chooses modules", "[tools]") {
  Chain chain(Device{}, {6, 9, 4});
  MonitorConfig config;
  config.modules = "*.1";
  const Monitor monitor = chain.monitor(config, 3);
  REQUIRE(monitor.modules().size() == 1);
  CHECK(monitor.modules()[0].name == "layers.1");
  config.modules = "blocks.*";
  try {
    chain.monitor(config, 3);
    FAIL("expected an error");
  } catch (const ConfigError& error) {
    CHECK(std::string(error.what()) ==
          "monitor.modules is \"blocks.*\"; expected a glob that matches a linear, as layers.0");
  }
}

TEST_CASE("correlation is Pearson's", "[tools]") {
  Correlation correlation;
  CHECK(std::isnan(correlation.value()));
  for (const auto& [x, y] : {std::pair(1.0, 2.0), {2.0, 1.0}, {3.0, 4.0}, {4.0, 3.0}}) {
    correlation.add(x, y);
  }
  correlation.add(std::nan(""), 1);
  CHECK(correlation.value() == Approx(0.6));
  CHECK(correlation.count == 4);
}

TEST_CASE("a spectrum has the ranks of its definition", "[tools]") {
  DenseMatrix matrix(3, 2);
  matrix(0, 0) = 2;
  matrix(2, 1) = 1;
  const Spectrum spectrum = spectrum_of(matrix);
  CHECK(spectrum.frobenius == Approx(std::sqrt(5)));
  CHECK(spectrum.stable_rank == Approx(1.25));
  CHECK(spectrum.effective_rank == Approx(std::exp(-0.8 * std::log(0.8) - 0.2 * std::log(0.2))));
  CHECK(std::isnan(spectrum_of(DenseMatrix(3, 2)).stable_rank));
}

}  // namespace
}  // namespace ghost
