#include "tools/monitor/gradient_statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "ops/optim/optim_kernels.h"
#include "tools/monitor/spectrum.h"

namespace ghost {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

void sum_squares(const Context& ctx, const Tensor& x, const Tensor& sum) {
  const Tensor partial =
      ctx.device().is_cuda() ? ctx.empty({kSumOfSquaresBlocks}, DType::kF64) : Tensor{};
  const ZeroBlocks unknown(x.numel());
  const SumOfSquares args{
      .x = x.reshape({x.numel()}), .zeros = &unknown, .partial = partial, .sum = sum};
  dispatch(
      ctx, [&] { cpu::sum_of_squares(args); }, [&] { cuda::sum_of_squares(args); });
}

}  // namespace

GradientStatistics::GradientStatistics(StateStore& store,
                                       const std::vector<MonitoredModule>& modules,
                                       const ProbeNames& probes, std::int64_t columns, double beta)
    : store_(store), modules_(modules), probes_(probes), columns_(columns), beta_(beta) {
  for (std::size_t i = 0; i < modules.size(); ++i) {
    if (modules[i].weight != nullptr) {
      sketch_of(i);
    }
  }
  store_.get_on_host("gradients.squares", {static_cast<std::int64_t>(modules.size())});
}

ThreeSketch GradientStatistics::sketch_of(std::size_t module) const {
  const MonitoredModule& of = modules_[module];
  const ThreeSketchLayout layout{.k = columns_, .s = columns_, .has_y = false, .has_z = false};
  return {store_, of.name + ".gradient", layout, of.inputs, of.weight->grad.dtype()};
}

std::int64_t GradientStatistics::sketch_bytes() const {
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < modules_.size(); ++i) {
    bytes += modules_[i].weight == nullptr ? 0 : sketch_of(i).values().bytes();
  }
  return bytes;
}

void GradientStatistics::observe(const Context& ctx) {
  const auto count = static_cast<std::int64_t>(modules_.size());
  sums_ = ctx.zeros({2 * count}, DType::kF64);
  std::int64_t most_outputs = 0;
  for (const MonitoredModule& module : modules_) {
    most_outputs = std::max(most_outputs, module.outputs);
  }
  Tensor probes;
  for (std::int64_t i = 0; i < count; ++i) {
    const Parameter* weight = modules_[static_cast<std::size_t>(i)].weight;
    if (weight == nullptr) {
      continue;
    }
    ThreeSketch sketch = sketch_of(static_cast<std::size_t>(i));
    if (!probes.defined()) {
      probes = draw_probes(ctx, sketch.layout(), probes_, /*first_row=*/0, most_outputs,
                           weight->grad.dtype());
    }
    // The stored gradient is [d_out, d_in], G^T.
    sketch.update(ctx, weight->grad, probes, {.beta = beta_});
    sum_squares(ctx, weight->grad, sums_.slice(i, i + 1));
    sum_squares(ctx, weight->value, sums_.slice(count + i, count + i + 1));
  }
}

std::vector<GradientNumbers> GradientStatistics::read(const Context& /*ctx*/) {
  const auto count = static_cast<std::int64_t>(modules_.size());
  const Tensor sums = on_host(sums_);
  const Tensor squares = store_.get_on_host("gradients.squares", {count});
  std::vector<GradientNumbers> out(modules_.size(), {kNan, kNan, kNan, kNan, kNan});
  for (std::int64_t i = 0; i < count; ++i) {
    const auto module = static_cast<std::size_t>(i);
    if (modules_[module].weight == nullptr) {
      continue;
    }
    GradientNumbers& numbers = out[module];
    const double square = sums.data<double>()[i];
    double& mean_square = squares.data<double>()[i];
    numbers.norm = std::sqrt(square);
    numbers.weight_norm = std::sqrt(sums.data<double>()[count + i]);
    ThreeSketch sketch = sketch_of(module);
    const Spectrum spectrum = spectrum_of(sketch.x());
    if (!std::isfinite(square) || !std::isfinite(spectrum.frobenius)) {
      sketch.reset();
      mean_square = 0;
      continue;
    }
    mean_square = beta_ * mean_square + (1 - beta_) * square;
    const double correction = sketch.bias_correction(beta_);
    numbers.mean_norm = correction * spectrum.frobenius / std::sqrt(static_cast<double>(columns_));
    numbers.stable_rank = spectrum.stable_rank;
    numbers.signal_share = numbers.mean_norm * numbers.mean_norm / (correction * mean_square);
  }
  sums_ = Tensor{};
  return out;
}

}  // namespace ghost
