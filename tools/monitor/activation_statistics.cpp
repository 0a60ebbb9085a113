#include "tools/monitor/activation_statistics.h"

#include <cmath>
#include <limits>

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"

namespace ghost {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

ThreeSketchLayout input_layout(ThreeSketchLayout layout) {
  layout.has_y = layout.has_z = false;
  return layout;
}

ThreeSketchLayout output_layout(ThreeSketchLayout layout) {
  layout.has_x = false;
  return layout;
}

/// Sums of the first `count` columns of a matrix [rows, columns].
std::vector<double> column_sums(const Tensor& matrix, std::int64_t count) {
  const Tensor x = on_host(matrix);
  std::vector<double> sums(static_cast<std::size_t>(count));
  visit_floating(x.dtype(), [&]<typename T>() {
    const T* row = x.data<T>();
    for (std::int64_t i = 0; i < x.dim(0); ++i, row += x.dim(1)) {
      for (std::size_t j = 0; j < sums.size(); ++j) {
        sums[j] += to_double(row[j]);
      }
    }
  });
  return sums;
}

/// What an update has added: (after - beta before) / (1 - beta), the first `count` columns from
/// `first` on.
DenseMatrix newest(const Tensor& before, const Tensor& after, double beta, std::int64_t first,
                   std::int64_t count) {
  const DenseMatrix old = DenseMatrix::from(on_host(before), first, count);
  DenseMatrix out = DenseMatrix::from(on_host(after), first, count);
  for (std::int64_t row = 0; row < out.rows(); ++row) {
    for (std::int64_t column = 0; column < count; ++column) {
      out(row, column) = (out(row, column) - beta * old(row, column)) / (1 - beta);
    }
  }
  return out;
}

void add_to(std::vector<double>& sum, const std::vector<double>& terms) {
  for (std::size_t i = 0; i < sum.size(); ++i) {
    sum[i] += terms[i];
  }
}

}  // namespace

ActivationStatistics::ActivationStatistics(StateStore& store, const MonitoredModules& modules,
                                           Setup setup)
    : store_(store), modules_(modules), setup_(std::move(setup)) {
  progress_.resize(modules.all().size());
  for (std::size_t i = 0; i < progress_.size(); ++i) {
    sketches_of(i);
  }
}

ActivationStatistics::Sketches ActivationStatistics::sketches_of(std::size_t module) const {
  const MonitoredModule& of = modules_.all()[module];
  return {
      .input = {store_, of.name + ".input", input_layout(setup_.layout), of.inputs, setup_.dtype},
      .output = {store_, of.name + ".output", output_layout(setup_.layout), of.outputs,
                 setup_.dtype}};
}

std::int64_t ActivationStatistics::sketch_bytes() const {
  std::int64_t bytes = 0;
  for (std::size_t i = 0; i < progress_.size(); ++i) {
    const Sketches sketches = sketches_of(i);
    bytes += sketches.input.values().bytes() + sketches.output.values().bytes();
  }
  return bytes;
}

void ActivationStatistics::begin_step() {
  for (Progress& progress : progress_) {
    progress = {};
    progress.omega_sums.assign(static_cast<std::size_t>(setup_.layout.k), 0);
  }
}

ActivationStatistics::Watch::Watch(ActivationStatistics& statistics, Context& ctx,
                                   std::int64_t micro_step)
    : statistics_(statistics), ctx_(ctx) {
  statistics.micro_step_ = micro_step;
  for (Progress& progress : statistics.progress_) {
    progress.next_row = 0;
  }
  ctx.attach_observer([&statistics, &ctx](const Node& node, const Tensors& outputs) {
    statistics.take(ctx, node, outputs);
  });
}

ActivationStatistics::Watch::~Watch() {
  ctx_.attach_observer(nullptr);
  statistics_.probes_.clear();
}

const ActivationStatistics::Probes& ActivationStatistics::probes_for(const Context& ctx,
                                                                     std::int64_t first_row,
                                                                     std::int64_t rows,
                                                                     DType dtype) {
  Probes& probes = probes_[{first_row, rows}];
  if (!probes.input.defined()) {
    probes.input =
        draw_probes(ctx, input_layout(setup_.layout), setup_.probes, first_row, rows, dtype);
    probes.output =
        draw_probes(ctx, output_layout(setup_.layout), setup_.probes, first_row, rows, dtype);
    probes.omega_sums = ctx.device().is_dry
                            ? std::vector<double>(static_cast<std::size_t>(setup_.layout.k))
                            : column_sums(probes.output, setup_.layout.k);
  }
  return probes;
}

void ActivationStatistics::take(const Context& ctx, const Node& node, const Tensors& outputs) {
  const std::int64_t found = modules_.find(node);
  if (found < 0) {
    return;
  }
  const auto module = static_cast<std::size_t>(found);
  const MonitoredModule& of = modules_.all()[module];
  Progress& progress = progress_[module];
  const Tensor x = node.input(0).detach();
  const std::int64_t rows = x.numel() / x.dim(-1);
  // As BatchPosition numbers the sequences of a step.
  const std::int64_t passes = micro_step_ * setup_.replicas + setup_.replica;
  const Probes& probes = probes_for(ctx, passes * of.rows + progress.next_row, rows, x.dtype());
  progress.next_row += rows;
  add_to(progress.omega_sums, probes.omega_sums);

  Sketches sketches = sketches_of(module);
  if (!progress.has_begun) {
    progress.before = ctx.empty_like(sketches.output.values());
    copy(progress.before, sketches.output.values());
  }
  // Replicas are averaged later, which leaves beta's share as it is.
  const ThreeSketch::Update update{.beta = setup_.beta,
                                   .weight = static_cast<double>(setup_.replicas),
                                   .is_further = progress.has_begun};
  progress.has_begun = true;
  sketches.input.update(ctx, x, probes.input, update);
  if (has_outputs(node)) {
    sketches.output.update(ctx, outputs[0].detach(), probes.output, update);
  } else {
    sketches.output.update_product(ctx, x, node.input(1).detach(), probes.output, update);
  }
}

void ActivationStatistics::average_over_replicas() {
  if (setup_.replicas == 1) {
    return;
  }
  std::vector<Tensor> places;
  std::vector<double> all;
  for (std::size_t i = 0; i < progress_.size(); ++i) {
    const Sketches sketches = sketches_of(i);
    for (const Tensor& values : {sketches.input.values(), sketches.output.values()}) {
      const Tensor host = on_host(values);
      visit_real(host.dtype(), [&]<typename T>() {
        all.insert(all.end(), host.data<T>(), host.data<T>() + host.numel());
      });
      places.push_back(values);
    }
    all.insert(all.end(), progress_[i].omega_sums.begin(), progress_[i].omega_sums.end());
  }
  setup_.sum_over_replicas(all);
  const double share = 1.0 / static_cast<double>(setup_.replicas);
  auto from = all.cbegin();
  for (std::size_t i = 0; i < places.size(); ++i) {
    const Tensor place = host_place(places[i]);
    visit_real(place.dtype(), [&]<typename T>() {
      for (T& value : place.span<T>()) {
        value = static_cast<T>(*from++ * share);
      }
    });
    copy(places[i], place);
    if (i % 2 == 1) {
      for (double& sum : progress_[i / 2].omega_sums) {
        sum = *from++;
      }
    }
  }
}

ActivationNumbers ActivationStatistics::numbers_of(std::size_t module,
                                                   const Sketches& sketches) const {
  const std::int64_t k = setup_.layout.k;
  const std::int64_t s = setup_.layout.s;
  const Progress& progress = progress_[module];
  const std::vector<double> psi = draw_psi(setup_.probes, static_cast<std::int64_t>(module), s);
  const double correction = sketches.output.bias_correction(setup_.beta);
  const Spectrum y = spectrum_of(sketches.output.y());
  const Tensor& values = sketches.output.values();
  DenseMatrix sums(1, k, progress.omega_sums);
  ActivationNumbers out;
  out.z_fro = sketches.output.z(psi).frobenius_norm();
  out.corrected_z_fro = correction * out.z_fro;
  out.act_norm = correction * sketches.output.z_over_psi().frobenius_norm() /
                 std::sqrt(static_cast<double>(s));
  out.input_norm =
      correction * sketches.input.x().frobenius_norm() / std::sqrt(static_cast<double>(k));
  out.y_stable_rank = y.stable_rank;
  out.y_effective_rank = y.effective_rank;
  out.output_norm = newest(progress.before, values, setup_.beta, k, s).frobenius_norm() /
                    std::sqrt(static_cast<double>(s));
  out.row_spread = row_spread(newest(progress.before, values, setup_.beta, 0, k), sums);
  return out;
}

std::vector<ActivationNumbers> ActivationStatistics::read(const Context& /*ctx*/) {
  average_over_replicas();
  std::vector<ActivationNumbers> out(progress_.size(),
                                     {kNan, kNan, kNan, kNan, kNan, kNan, /*output_norm=*/0, kNan});
  for (std::size_t i = 0; i < progress_.size(); ++i) {
    if (!progress_[i].has_begun) {
      continue;  // its forward pass has not come by
    }
    Sketches sketches = sketches_of(i);
    out[i] = numbers_of(i, sketches);
    if (!std::isfinite(out[i].output_norm) || !std::isfinite(out[i].input_norm)) {
      sketches.input.reset();
      sketches.output.reset();
    }
    progress_[i].before = Tensor{};
  }
  return out;
}

}  // namespace ghost
