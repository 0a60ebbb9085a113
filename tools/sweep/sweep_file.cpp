#include "tools/sweep/sweep_file.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include <nlohmann/json.hpp>

#include "engine/autograd/residual_plan.h"
#include "engine/config/config_tree.h"
#include "engine/config/nearest_key.h"

namespace ghost {
namespace {

namespace fs = std::filesystem;

/// The file's keys before its runs are read.
struct SweepKeys {
  std::string base;
  std::string out;
  std::vector<std::int64_t> seeds;
  const ConfigNode* runs = nullptr;
};

/// A node as YAML on one line, for --set.
std::string flow_text(const ConfigNode& node) {
  std::string text;
  switch (node.kind) {
    case ConfigNode::Kind::kNull:
      return "null";
    case ConfigNode::Kind::kScalar:
      return node.quoted ? nlohmann::json(node.scalar).dump() : node.scalar;
    case ConfigNode::Kind::kSequence:
      for (const ConfigNode& item : node.items) {
        text += (text.empty() ? "" : ", ") + flow_text(item);
      }
      return "[" + text + "]";
    case ConfigNode::Kind::kMap:
      for (const ConfigNode::Entry& entry : node.entries) {
        text += (text.empty() ? "" : ", ") + entry.key + ": " + flow_text(entry.value);
      }
      return "{" + text + "}";
  }
  return text;
}

std::string read_text(const ConfigNode& node, std::string_view key) {
  if (!node.is_scalar() || node.scalar.empty()) {
    fail<ConfigError>("{}: {} is {}; expected a path", node.origin.text(), key, node.describe());
  }
  return node.scalar;
}

std::vector<std::int64_t> read_seeds(const ConfigNode& node) {
  const auto refuse = [&](const ConfigNode& found, std::string_view expected) {
    fail<ConfigError>("{}: seeds is {}; expected {}", node.origin.text(), found.describe(),
                      expected);
  };
  if (!node.is_sequence() || node.items.empty()) {
    refuse(node, "a list of integers");
  }
  std::vector<std::int64_t> seeds;
  for (const ConfigNode& item : node.items) {
    std::int64_t seed = 0;
    const char* end = item.scalar.data() + item.scalar.size();
    const auto [last, error] = std::from_chars(item.scalar.data(), end, seed);
    if (!item.is_scalar() || error != std::errc{} || last != end || seed < 0) {
      fail<ConfigError>("{}: seeds holds {}; expected integers of 0 or more", node.origin.text(),
                        item.describe());
    }
    if (std::find(seeds.begin(), seeds.end(), seed) != seeds.end()) {
      fail<ConfigError>("{}: seeds holds {} twice", node.origin.text(), seed);
    }
    seeds.push_back(seed);
  }
  return seeds;
}

SweepKeys read_keys(const ConfigNode& root, const fs::path& file) {
  const std::vector<std::string> known{"base", "out", "seeds", "runs"};
  SweepKeys keys;
  for (const ConfigNode::Entry& entry : root.entries) {
    if (entry.key == "base") {
      keys.base = read_text(entry.value, "base");
    } else if (entry.key == "out") {
      keys.out = read_text(entry.value, "out");
    } else if (entry.key == "seeds") {
      keys.seeds = read_seeds(entry.value);
    } else if (entry.key == "runs") {
      keys.runs = &entry.value;
    } else {
      const auto nearest = nearest_key(entry.key, known);
      fail<ConfigError>("{}: unknown key {}{}", entry.value.origin.text(), entry.key,
                        nearest ? fmt::format("; did you mean {}?", *nearest) : "");
    }
  }
  if (keys.runs == nullptr || !keys.runs->is_map() || keys.runs->entries.empty()) {
    fail<ConfigError>("{}: runs is {}; expected a map of names to changes",
                      keys.runs == nullptr ? file.string() : keys.runs->origin.text(),
                      keys.runs == nullptr  ? "missing"
                      : keys.runs->is_map() ? "empty"
                                            : keys.runs->describe());
  }
  return keys;
}

void check_run_name(const ConfigNode::Entry& run) {
  const bool is_plain = run.key.find_first_not_of(
                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTU"
                            "VWXYZ0123456789_-+.") == std::string::npos;
  if (run.key.empty() || !is_plain || run.key.front() == '.') {
    fail<ConfigError>(
        "{}: run name \"{}\"; expected letters, digits, _, -, + and dots, as it names "
        "a directory",
        run.value.origin.text(), run.key);
  }
}

/// What the file says of one run.
struct RunChanges {
  fs::path config_file;
  std::vector<std::string> overrides;
};

RunChanges read_changes(const ConfigNode::Entry& run, const SweepKeys& keys, const fs::path& file) {
  check_run_name(run);
  if (!run.value.is_map() && !run.value.is_null()) {
    fail<ConfigError>("{}: run {} is {}; expected a map of keys to values", run.value.origin.text(),
                      run.key, run.value.describe());
  }
  RunChanges changes;
  std::string config = keys.base;
  for (const ConfigNode::Entry& entry : run.value.entries) {
    if (entry.key == "config") {
      config = read_text(entry.value, "config");
    } else if (entry.key == "run.dir" || entry.key == "train.seed") {
      fail<ConfigError>("{}: run {} sets {}; the sweep does, by `out` and `seeds`",
                        entry.value.origin.text(), run.key, entry.key);
    } else {
      changes.overrides.push_back(entry.key + "=" + flow_text(entry.value));
    }
  }
  if (config.empty()) {
    fail<ConfigError>("{}: run {} has no config; expected `base` in the file or `config` here",
                      run.value.origin.text(), run.key);
  }
  changes.config_file = (file.parent_path() / config).lexically_normal();
  return changes;
}

SweepJob make_job(const std::string& run, const RunChanges& changes,
                  std::optional<std::int64_t> seed, const fs::path& out, const fs::path& file) {
  SweepJob job{.run = run, .config_file = changes.config_file, .overrides = changes.overrides};
  try {
    if (seed.has_value()) {
      job.overrides.push_back(fmt::format("train.seed={}", *seed));
    }
    job.config = load_run_config(job.config_file, job.overrides);
    const std::string dir = (out / job.name()).string();
    job.overrides.push_back("run.dir=" + nlohmann::json(dir).dump());
    job.config.run.dir = dir;
  } catch (const ConfigError& failure) {
    fail<ConfigError>("{}: run {}: {}", file.string(), run, failure.what());
  }
  return job;
}

/// runs/NAME of NAME.sweep.yaml.
fs::path default_out(const fs::path& file) {
  fs::path name = file.stem();
  return fs::path("runs") / (name.extension() == ".sweep" ? name.stem() : name);
}

}  // namespace

std::string SweepJob::name() const { return fmt::format("{}-seed{}", run, config.train.seed); }

Sweep load_sweep(const fs::path& file, const fs::path& out) {
  const ConfigNode root = load_document(file);
  const SweepKeys keys = read_keys(root, file);
  Sweep sweep;
  sweep.out = !out.empty() ? out : keys.out.empty() ? default_out(file) : fs::path(keys.out);
  for (const ConfigNode::Entry& run : keys.runs->entries) {
    const RunChanges changes = read_changes(run, keys, file);
    sweep.runs.push_back(run.key);
    if (keys.seeds.empty()) {
      sweep.jobs.push_back(make_job(run.key, changes, std::nullopt, sweep.out, file));
    }
    for (const std::int64_t seed : keys.seeds) {
      sweep.jobs.push_back(make_job(run.key, changes, seed, sweep.out, file));
    }
  }
  return sweep;
}

void keep_only(Sweep& sweep, const std::string& glob) {
  const std::vector<std::string> all = sweep.runs;
  std::erase_if(sweep.runs, [&](const std::string& run) { return !glob_match(glob, run); });
  std::erase_if(sweep.jobs, [&](const SweepJob& job) { return !glob_match(glob, job.run); });
  if (sweep.runs.empty()) {
    fail<ConfigError>("--only {} matches no run; the nearest is {}", glob, nearest_text(glob, all));
  }
}

}  // namespace ghost
