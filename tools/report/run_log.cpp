#include "tools/report/run_log.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/core/error.h"
#include "engine/io/file.h"

namespace ghost {
namespace {

using Json = nlohmann::ordered_json;  // keeps the tags in the order of the file

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// One object of the file, which knows its file and line.
class Line {
 public:
  Line(const Json& object, const std::string& where) : object_(object), where_(where) {}

  /// NaN for an absent key and for null.
  double number(const char* key) const {
    const auto at = object_.find(key);
    if (at == object_.end() || at->is_null()) {
      return kNan;
    }
    if (!at->is_number()) {
      wrong_type(key, "a number or null", *at);
    }
    return at->get<double>();
  }

  std::int64_t step() const {
    const auto at = object_.find("step");
    if (at == object_.end()) {
      fail("{}: key step is missing", where_);
    }
    if (!at->is_number_integer() || at->get<std::int64_t>() < 0) {
      wrong_type("step", "an integer of 0 or more", *at);
    }
    return at->get<std::int64_t>();
  }

  /// Empty for an absent key and for null.
  std::string text(const char* key) const {
    const auto at = object_.find(key);
    if (at == object_.end() || at->is_null()) {
      return {};
    }
    if (!at->is_string()) {
      wrong_type(key, "a string", *at);
    }
    return at->get<std::string>();
  }

  /// NaN for null; empty for an absent key.
  std::vector<double> numbers(const char* key) const {
    const auto at = object_.find(key);
    std::vector<double> values;
    if (at == object_.end()) {
      return values;
    }
    if (!at->is_array()) {
      wrong_type(key, "an array of numbers", *at);
    }
    for (const Json& value : *at) {
      if (!value.is_number() && !value.is_null()) {
        wrong_type(key, "an array of numbers", *at);
      }
      values.push_back(value.is_null() ? kNan : value.get<double>());
    }
    return values;
  }

  /// Empty for an absent key.
  std::vector<std::string> texts(const char* key) const {
    const auto at = object_.find(key);
    std::vector<std::string> values;
    if (at == object_.end()) {
      return values;
    }
    const bool is_list =
        at->is_array() &&
        std::all_of(at->begin(), at->end(), [](const Json& text) { return text.is_string(); });
    if (!is_list) {
      wrong_type(key, "an array of strings", *at);
    }
    return at->get<std::vector<std::string>>();
  }

  /// The object under a key; nothing for an absent key.
  template <typename Read>
  void inside(const char* key, Read&& read) const {
    const auto at = object_.find(key);
    if (at == object_.end() || at->is_null()) {
      return;
    }
    if (!at->is_object()) {
      wrong_type(key, "an object", *at);
    }
    const std::string where = fmt::format("{}: {}", where_, key);
    read(Line(*at, where));
  }

  void read_memory(RunLog& log) const {
    const auto raise = [this](const char* key, std::int64_t& most) {
      if (const double bytes = number(key); bytes > 0) {
        most = std::max(most, static_cast<std::int64_t>(bytes));
      }
    };
    raise("reserved", log.reserved_bytes);
    raise("kept_peak", log.kept_bytes);
    const auto memory = object_.find("memory");
    if (memory == object_.end() || memory->is_null()) {
      return;
    }
    if (!memory->is_object()) {
      wrong_type("memory", "an object", *memory);
    }
    for (const auto& [tag, bytes] : memory->items()) {
      if (!bytes.is_object()) {
        wrong_type("memory." + tag, "an object", bytes);
      }
      const double peak = Line(bytes, where_ + ": memory." + tag).number("peak");
      auto known = std::find_if(log.memory.begin(), log.memory.end(),
                                [&tag = tag](const TagPeak& entry) { return entry.tag == tag; });
      if (known == log.memory.end()) {
        known = log.memory.insert(log.memory.end(), TagPeak{.tag = tag});
      }
      if (peak > 0) {
        known->peak_bytes = std::max(known->peak_bytes, static_cast<std::int64_t>(peak));
      }
    }
  }

 private:
  [[noreturn]] void wrong_type(const std::string& key, std::string_view expected,
                               const Json& found) const {
    fail("{}: key {} is {}; expected {}", where_, key,
         found.dump(-1, ' ', false, Json::error_handler_t::replace), expected);
  }

  const Json& object_;
  const std::string& where_;
};

void read_start(const Line& line, RunFacts& facts) {
  facts = {.name = line.text("run"),
           .model = line.text("model"),
           .device = line.text("device"),
           .dtype = line.text("dtype"),
           .peak_source = line.text("peak_source"),
           .config_sha256 = line.text("config_sha256"),
           .loss_label = line.text("loss_label"),
           .item = line.text("item").empty() ? "token" : line.text("item"),
           .score = line.text("score"),
           .parameters = line.number("parameters"),
           .flops_per_token = line.number("flops_per_token"),
           .peak_flops = line.number("peak_flops"),
           .threads = line.number("threads"),
           .tokens_per_step = line.number("tokens_per_step"),
           .steps = line.number("steps"),
           .monitor_modules = {},
           .monitor_bytes = 0};
  line.inside("monitor", [&](const Line& monitor) {
    facts.monitor_modules = monitor.texts("modules");
    facts.monitor_bytes = monitor.number("state_bytes");
  });
}

MonitorPoint read_observation(const Line& line) {
  MonitorPoint point{.step = line.step()};
  for (std::size_t i = 0; i < kMonitorCurves.size(); ++i) {
    point.values[i] = line.numbers(kMonitorCurves[i]);
  }
  if (const double first = line.number("jacobian/first_region"); std::isfinite(first)) {
    point.first_region = static_cast<std::int64_t>(first);
  }
  point.jacobian_local = line.numbers("jacobian/local");
  point.jacobian_suffix = line.numbers("jacobian/suffix");
  return point;
}

void read_correlations(const Line& line, RunLog& log) {
  log.correlations.clear();
  for (const char* proxy : {"z_fro", "act_norm", "grad_sketch_norm"}) {
    line.inside(proxy, [&](const Line& of) {
      log.correlations.push_back(
          {.proxy = proxy, .overall = of.number("overall"), .modules = of.numbers("modules")});
    });
  }
}

/// Drops what a resumed run does again: the points at `step` and later.
template <typename Point>
std::int64_t drop_from(std::vector<Point>& points, std::int64_t step) {
  const auto first =
      std::find_if(points.begin(), points.end(), [step](const Point& p) { return p.step >= step; });
  const auto dropped = std::distance(first, points.end());
  points.erase(first, points.end());
  return dropped;
}

void read_line(const Line& line, RunLog& log) {
  const std::string kind = line.text("kind");
  if (kind == "start") {
    read_start(line, log.facts);
  } else if (kind == "train") {
    const std::int64_t step = line.step();
    log.repeated_lines += drop_from(log.train, step) + drop_from(log.evals, step);
    log.train.push_back({.step = step,
                         .loss = line.number("loss"),
                         .lr = line.number("lr"),
                         .grad_norm = line.number("grad_norm"),
                         .ms_per_step = line.number("ms_per_step"),
                         .tokens_per_s = line.number("tokens_per_s"),
                         .mfu = line.number("mfu"),
                         .tokens = line.number("tokens")});
    line.read_memory(log);
  } else if (kind == "eval") {
    const std::int64_t step = line.step();
    log.repeated_lines += drop_from(log.evals, step);
    log.evals.push_back(
        {.step = step,
         .val_loss = line.number("val_loss"),
         .train_loss = line.number("train_loss"),
         .score = log.facts.score.empty() ? kNan : line.number(log.facts.score.c_str())});
  } else if (kind == "event") {
    log.events.push_back({.step = line.step(),
                          .event = line.text("event"),
                          .detail = line.text("detail"),
                          .alarm = line.text("alarm"),
                          .modules = line.texts("modules")});
  } else if (kind == "monitor") {
    drop_from(log.monitor, line.step());
    log.monitor.push_back(read_observation(line));
  } else if (kind == "correlation") {
    read_correlations(line, log);
  }
}

}  // namespace

RunLog read_run_log(const std::filesystem::path& dir) {
  const std::filesystem::path file = dir / "metrics.jsonl";
  if (!std::filesystem::is_regular_file(file)) {
    fail("{}: not found; expected a run directory with metrics.jsonl in it", file.string());
  }

  RunLog log;
  log.dir = dir;
  const std::string text = read_file(file);
  std::int64_t line_number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t newline = text.find('\n', begin);
    const std::size_t end = newline == std::string::npos ? text.size() : newline;
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++line_number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) {
      continue;
    }
    const std::string where = fmt::format("{}:{}", file.string(), line_number);
    const Json object = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (object.is_discarded() && begin >= text.size()) {
      log.has_torn_end = true;
      break;
    }
    if (!object.is_object() || !object.contains("kind")) {
      fail("{}: {} is not a line of a run; expected a JSON object with a key kind", where,
           line.substr(0, 40));
    }
    read_line(Line(object, where), log);
  }
  GHOST_CHECK(line_number > (log.has_torn_end ? 1 : 0),
              "{}: holds no complete line; expected the start line of a run", file.string());

  if (log.facts.name.empty()) {
    // "runs/a/" has an empty last component.
    log.facts.name = (dir.has_filename() ? dir : dir.parent_path()).filename().string();
  }
  const std::filesystem::path config = dir / "config.yaml";
  log.config = std::filesystem::exists(config) ? read_file(config) : std::string();
  if (const auto protocol = dir / "protocol.json"; std::filesystem::exists(protocol)) {
    log.protocol = read_protocol(protocol);
  }
  return log;
}

double seconds_in_steps(const RunLog& log) {
  double ms = 0;
  bool is_timed = false;
  for (std::size_t i = 0; i < log.train.size(); ++i) {
    const TrainPoint& point = log.train[i];
    if (!std::isfinite(point.ms_per_step)) {
      continue;
    }
    // A line stands for the steps since the line before. How many the first one stands for is
    // known from the second: a resumed run in a new directory does not begin at step 0.
    std::int64_t steps = 1;
    if (i > 0) {
      steps = point.step - log.train[i - 1].step;
    } else if (log.train.size() > 1) {
      steps = std::min(point.step, log.train[1].step - point.step);
    }
    ms += point.ms_per_step * static_cast<double>(std::max<std::int64_t>(steps, 1));
    is_timed = true;
  }
  return is_timed ? ms / 1000 : kNan;
}

const EvalPoint* best_eval(const RunLog& log) {
  const EvalPoint* best = nullptr;
  for (const EvalPoint& point : log.evals) {
    if (std::isfinite(point.val_loss) && (best == nullptr || point.val_loss < best->val_loss)) {
      best = &point;
    }
  }
  return best;
}

double median_of(const RunLog& log, double TrainPoint::*field) {
  std::vector<double> values;
  for (const TrainPoint& point : log.train) {
    if (std::isfinite(point.*field)) {
      values.push_back(point.*field);
    }
  }
  if (values.empty()) {
    return kNan;
  }
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace ghost
