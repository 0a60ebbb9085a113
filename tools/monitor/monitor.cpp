#include "tools/monitor/monitor.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace ghost {
namespace {

ThreeSketchLayout layout_of(const MonitorConfig& config) {
  return {.k = config.columns(), .s = config.columns()};
}

/// Structs of doubles as rows of a tensor on the host.
template <typename Row>
constexpr std::int64_t kNumbers = sizeof(Row) / sizeof(double);

template <typename Row>
std::vector<Row> read_rows(const Tensor& tensor) {
  static_assert(std::is_trivially_copyable_v<Row> && sizeof(Row) % sizeof(double) == 0);
  std::vector<Row> rows(static_cast<std::size_t>(tensor.numel() / kNumbers<Row>));
  std::memcpy(rows.data(), tensor.raw(), static_cast<std::size_t>(tensor.bytes()));
  return rows;
}

template <typename Row>
void write_rows(const Tensor& tensor, const std::vector<Row>& rows) {
  std::memcpy(tensor.raw(), rows.data(), static_cast<std::size_t>(tensor.bytes()));
}

}  // namespace

Monitor::Monitor(Context& ctx, const ParameterStore& parameters, Setup setup,
                 const MonitoredModules::Forward& forward)
    : setup_(std::move(setup)),
      modules_(forward, parameters, setup_.config.modules),
      store_(ctx.allocator()),
      activations_(store_, modules_,
                   {.layout = layout_of(setup_.config),
                    .probes = {.seed = setup_.seed},
                    .beta = setup_.config.beta,
                    .micro_steps = setup_.micro_steps,
                    .replica = setup_.replica,
                    .replicas = setup_.replicas,
                    .dtype = setup_.dtype,
                    .sum_over_replicas = setup_.sum_over_replicas}),
      gradients_(store_, modules_.all(), {.seed = setup_.seed}, setup_.config.gradient_columns,
                 setup_.config.beta) {
  alarm_state();
  correlation_state();
  run_state();
}

Tensor Monitor::run_state() const { return store_.get_on_host("run", {kNumbers<RunHistory>}); }

Tensor Monitor::alarm_state() const {
  return store_.get_on_host("alarms",
                            {static_cast<std::int64_t>(modules().size()), kNumbers<ModuleHistory>});
}

// A row for all modules together, and one for each.
Tensor Monitor::correlation_state() const {
  constexpr auto kColumns = static_cast<std::int64_t>(kProxies.size()) * kNumbers<Correlation>;
  return store_.get_on_host("correlations",
                            {static_cast<std::int64_t>(modules().size()) + 1, kColumns});
}

void Monitor::begin_step() { activations_.begin_step(); }

MonitorRecord Monitor::finish(const Context& ctx, std::int64_t step, double loss) {
  MonitorRecord record{.step = step + 1};
  record.activations = activations_.read(ctx);
  record.gradients = gradients_.read(ctx);
  record.alarms = judge_modules(loss, record);
  correlate(record);
  return record;
}

std::vector<Alarm> Monitor::judge_modules(double loss, const MonitorRecord& record) {
  std::vector<ModuleNumbers> numbers;
  for (std::size_t i = 0; i < record.activations.size(); ++i) {
    const ActivationNumbers& activation = record.activations[i];
    const GradientNumbers& gradient = record.gradients[i];
    numbers.push_back({.log_z_fro = std::log(activation.corrected_z_fro),
                       .y_stable_rank = activation.y_stable_rank,
                       .row_spread = activation.row_spread,
                       .output_norm = activation.output_norm,
                       .grad_norm = gradient.norm,
                       .weight_norm = gradient.weight_norm});
  }
  std::vector<RunHistory> run_history = read_rows<RunHistory>(run_state());
  std::vector<ModuleHistory> histories = read_rows<ModuleHistory>(alarm_state());
  std::vector<Alarm> alarms =
      judge(setup_.config.alarms, record.step, loss, numbers, run_history.front(), histories);
  write_rows(run_state(), run_history);
  write_rows(alarm_state(), histories);
  return alarms;
}

void Monitor::correlate(const MonitorRecord& record) {
  std::vector<Correlation> rows = read_rows<Correlation>(correlation_state());
  for (std::size_t i = 0; i < record.gradients.size(); ++i) {
    const double norm = record.gradients[i].norm;
    const std::array<double, kProxies.size()> proxies = {record.activations[i].corrected_z_fro,
                                                         record.activations[i].act_norm,
                                                         record.gradients[i].mean_norm};
    for (std::size_t proxy = 0; proxy < proxies.size(); ++proxy) {
      rows[proxy].add(proxies[proxy], norm);
      rows[(i + 1) * kProxies.size() + proxy].add(proxies[proxy], norm);
    }
  }
  write_rows(correlation_state(), rows);
}

ProxyCorrelations Monitor::correlations() const {
  const std::vector<Correlation> rows = read_rows<Correlation>(correlation_state());
  ProxyCorrelations out;
  out.modules.resize(modules().size());
  for (std::size_t proxy = 0; proxy < kProxies.size(); ++proxy) {
    out.overall[proxy] = rows[proxy].value();
    for (std::size_t i = 0; i < out.modules.size(); ++i) {
      const Correlation& row = rows[(i + 1) * kProxies.size() + proxy];
      out.modules[i][proxy] = row.value();
      out.observations = std::max(out.observations, static_cast<std::int64_t>(row.count));
    }
  }
  return out;
}

std::vector<NamedTensor> Monitor::state() const {
  std::vector<NamedTensor> out;
  for (const auto& [name, tensor] : store_.all()) {
    out.push_back({name, tensor});
  }
  return out;
}

Monitor::Bytes Monitor::bytes() const {
  Bytes bytes{.activation_sketches = activations_.sketch_bytes(),
              .gradient_sketches = gradients_.sketch_bytes()};
  for (const auto& [name, tensor] : store_.all()) {
    bytes.rest += tensor.bytes();
  }
  bytes.rest -= bytes.activation_sketches + bytes.gradient_sketches;
  return bytes;
}

}  // namespace ghost
