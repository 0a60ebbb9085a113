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

void MetricsLog::event(std::int64_t step, std::string_view event, std::string_view detail) {
  const json line = {{"kind", "event"}, {"step", step}, {"event", event}, {"detail", detail}};
  file_.append_line(line.dump());
}

}  // namespace ghost
