#include "tools/train/metrics_log.h"

#include <cmath>

#include <nlohmann/json.hpp>

#include "engine/config/fields.h"
#include "engine/io/sha256.h"
#include "models/lbi/position_losses.h"

namespace ghost {
namespace {

// Keys stay in the order in which they are written: people read these lines.
using json = nlohmann::ordered_json;

json number(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

/// Six digits: observations are many numbers, and nobody reads more of them.
json short_number(double value) {
  constexpr int kDigits = 6;
  if (!std::isfinite(value) || value == 0) {
    return number(value);
  }
  const double scale = std::pow(10.0, kDigits - 1 - std::floor(std::log10(std::abs(value))));
  return std::isfinite(scale) && scale > 0 ? number(std::round(value * scale) / scale)
                                           : number(value);
}

/// One field of every module.
template <typename Numbers>
json column(const std::vector<Numbers>& modules, double Numbers::*field) {
  json values = json::array();
  for (const Numbers& numbers : modules) {
    values.push_back(short_number(numbers.*field));
  }
  return values;
}

json numbers(const std::vector<double>& values) {
  json out = json::array();
  for (const double value : values) {
    out.push_back(short_number(value));
  }
  return out;
}

json describe(const Monitor& monitor) {
  json modules = json::array();
  for (const MonitoredModule& module : monitor.modules()) {
    modules.push_back(module.name);
  }
  const Monitor::Bytes bytes = monitor.bytes();
  return {{"state_bytes", bytes.total()},
          {"activation_sketch_bytes", bytes.activation_sketches},
          {"gradient_sketch_bytes", bytes.gradient_sketches},
          {"modules", std::move(modules)}};
}

json memory_per_tag(const MemoryMeter& meter) {
  json tags;
  for (int i = 0; i < kNumMemoryTags; ++i) {
    const auto tag = static_cast<MemoryTag>(i);
    tags[std::string(tag_name(tag))] = {{"current", meter.current(tag)}, {"peak", meter.peak(tag)}};
  }
  return tags;
}

json messages_per_kind(const MetricsLog::Messages& messages) {
  json kinds;
  for (const auto& [kind, name] : EnumNames<MessageKind>::kNames) {
    const CommCount& count = (*messages.counts)[static_cast<std::size_t>(kind)];
    if (count.calls > 0) {
      kinds[std::string(name)] = {
          {"sent_bytes", count.sent_bytes},
          {"received_bytes", count.received_bytes},
          {"wait_ms", count.seconds * 1e3 / static_cast<double>(messages.ranks)}};
    }
  }
  return kinds;
}

}  // namespace

void MetricsLog::start(const Start& start) {
  const Config& config = start.config;
  json line = {
      {"kind", "start"},
      {"run", std::filesystem::path(config.run.dir).filename().string()},
      {"model", start.architecture},
      {"parameters", start.parameters},
      {"flops_per_token", start.flops_per_token},
      {"peak_flops", start.peak.flops ? json(*start.peak.flops) : json(nullptr)},
      {"peak_source", start.peak.source},
      {"device", config.device},
      {"threads", start.threads},
      {"dtype", enum_name(config.train.dtype)},
      {"tokens_per_step", config.tokens_per_step() * start.replicas},
      {"steps", config.train.steps},
      {"config_sha256", sha256_hex(as_bytes(write_config(config)))},
      {"replicas", start.replicas},
      {"region_ranks", start.region_ranks},
  };
  if (const auto label = loss_label(config.model.regions); !label.empty()) {
    line["loss_label"] = label;
  }
  if (start.monitor != nullptr) {
    line["monitor"] = describe(*start.monitor);
  }
  if (start.item != "token") {
    line["item"] = start.item;
  }
  if (!start.score.empty()) {
    line["score"] = start.score;
  }
  file_.append_line(line.dump());
}

void MetricsLog::train(const StepLine& step, std::int64_t tokens, const Allocator& memory,
                       const Messages& messages) {
  json line = {
      {"kind", "train"},
      {"step", step.step},
      {"loss", number(step.loss)},
      {"lr", step.lr},
      {"grad_norm", number(step.grad_norm)},
      {"ms_per_step", step.ms_per_step},
      {"tokens_per_s", step.tokens_per_s},
  };
  if (step.sketch_rank > 0) {
    line["sketch_rank"] = step.sketch_rank;
  }
  if (step.mfu.has_value()) {
    line["mfu"] = *step.mfu;
  }
  line["tokens"] = tokens;
  line["memory"] = memory_per_tag(memory.meter());
  line["kept_peak"] = memory.meter().kept_peak();
  line["memory_peak"] = memory.meter().total_peak();
  line["reserved"] = memory.reserved_bytes();
  if (messages.counts != nullptr) {
    line["messages"] = messages_per_kind(messages);
  }
  file_.append_line(line.dump());
}

void MetricsLog::eval(const EvalLine& eval) {
  json line = {
      {"kind", "eval"},
      {"step", eval.step},
      {"val_loss", number(eval.val_loss)},
  };
  if (eval.train_loss.has_value()) {
    line["train_loss"] = number(*eval.train_loss);
  }
  if (eval.score.has_value()) {
    line[std::string(eval.score_name)] = number(*eval.score);
  }
  line["batches"] = eval.batches;
  line["best"] = eval.best;
  file_.append_line(line.dump());
}

void MetricsLog::observation(const MonitorRecord& record,
                             const std::vector<MonitoredModule>& modules) {
  json line = {
      {"kind", "monitor"},
      {"step", record.step},
      {"z_fro", column(record.activations, &ActivationNumbers::z_fro)},
      {"act_norm", column(record.activations, &ActivationNumbers::act_norm)},
      {"input_norm", column(record.activations, &ActivationNumbers::input_norm)},
      {"output_norm", column(record.activations, &ActivationNumbers::output_norm)},
      {"y_stable_rank", column(record.activations, &ActivationNumbers::y_stable_rank)},
      {"y_effective_rank", column(record.activations, &ActivationNumbers::y_effective_rank)},
      {"row_spread", column(record.activations, &ActivationNumbers::row_spread)},
      {"grad_norm", column(record.gradients, &GradientNumbers::norm)},
      {"weight_norm", column(record.gradients, &GradientNumbers::weight_norm)},
      {"grad_sketch_norm", column(record.gradients, &GradientNumbers::mean_norm)},
      {"grad_stable_rank", column(record.gradients, &GradientNumbers::stable_rank)},
      {"signal_share", column(record.gradients, &GradientNumbers::signal_share)}};
  if (!record.agreement.empty()) {
    line["exact_cosine"] = column(record.agreement, &GradientAgreement::cosine);
    line["exact_ratio"] = column(record.agreement, &GradientAgreement::ratio);
  }
  if (!record.jacobians.local.empty()) {
    line["jacobian/first_region"] = record.jacobians.first_region;
    line["jacobian/local"] = numbers(record.jacobians.local);
    line["jacobian/suffix"] = numbers(record.jacobians.suffix);
  }
  file_.append_line(line.dump());
  for (const auto& [kind, name] : EnumNames<AlarmKind>::kNames) {
    for (const bool is_on : {true, false}) {
      json names = json::array();
      std::string detail;
      for (const Alarm& alarm : record.alarms) {
        if (alarm.kind == kind && alarm.is_on == is_on) {
          names.push_back(modules[alarm.module].name);
          detail = detail.empty() ? alarm.detail : detail;
        }
      }
      if (!names.empty()) {
        const std::string first = names.front().get<std::string>();
        const std::string more =
            names.size() > 1 ? fmt::format(" and {} more", names.size() - 1) : "";
        file_.append_line(json{{"kind", "event"},
                               {"step", record.step},
                               {"event", is_on ? "alarm" : "alarm_over"},
                               {"detail", fmt::format("{} in {}{}{}{}", name, first, more,
                                                      detail.empty() ? "" : ": ", detail)},
                               {"alarm", name},
                               {"modules", std::move(names)}}
                              .dump());
      }
    }
  }
}

void MetricsLog::correlations(std::int64_t step, const ProxyCorrelations& correlations) {
  json line = {{"kind", "correlation"},
               {"step", step},
               {"with", "grad_norm"},
               {"observations", correlations.observations}};
  for (std::size_t proxy = 0; proxy < kProxies.size(); ++proxy) {
    json modules = json::array();
    for (const auto& values : correlations.modules) {
      modules.push_back(short_number(values[proxy]));
    }
    line[std::string(kProxies[proxy])] = {{"overall", short_number(correlations.overall[proxy])},
                                          {"modules", std::move(modules)}};
  }
  file_.append_line(line.dump());
}

void MetricsLog::event(std::int64_t step, std::string_view event, std::string_view detail) {
  const json line = {{"kind", "event"}, {"step", step}, {"event", event}, {"detail", detail}};
  file_.append_line(line.dump());
}

}  // namespace ghost
