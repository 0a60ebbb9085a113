#include "tools/eval/protocol.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include <fmt/format.h>

#include "data/batch_source.h"
#include "engine/config/check_range.h"
#include "models/lbi/position_losses.h"
#include "tools/eval/evaluation.h"
#include "tools/eval/loss_sums.h"
#include "tools/run/batch.h"

namespace ghost {
namespace {

/// Tokens of a window that are changed for flip, one at a time.
constexpr std::int64_t kFlips = 8;

const LbiModel* regions_of(const LoadedRun& run) {
  return dynamic_cast<const LbiModel*>(run.model.get());
}

ProtocolPart part_of(const std::string& name) {
  for (const auto& [part, known] : EnumNames<ProtocolPart>::kNames) {
    if (name == known) {
      return part;
    }
  }
  fail<ConfigError>(
      "--protocol: \"{}\" is no score; expected all, or some of tf,last,ar,pos,flip,gap", name);
}

/// The parts that a text names.
class Parts {
 public:
  Parts(const LoadedRun& run, const std::string& text) {
    const bool has_regions = regions_of(run) != nullptr;
    if (text == "all") {
      for (const auto& [part, name] : EnumNames<ProtocolPart>::kNames) {
        if (has_regions || !needs_regions(part)) {
          parts_.push_back(part);
        }
      }
      return;
    }
    std::istringstream names(text);
    for (std::string name; std::getline(names, name, ',');) {
      const ProtocolPart part = part_of(name);
      if (!has_regions && needs_regions(part)) {
        fail<ConfigError>(
            "--protocol {}: {} has no regions, so its tf is autoregressive; expected a model with "
            "model.regions",
            name, run.name);
      }
      parts_.push_back(part);
    }
    if (parts_.empty()) {
      part_of("");
    }
  }

  bool has(ProtocolPart part) const {
    return std::find(parts_.begin(), parts_.end(), part) != parts_.end();
  }
  /// Whether losses of states of the text so far are asked for.
  bool has_refreshed() const { return has(ProtocolPart::kAr) || has(ProtocolPart::kGap); }

 private:
  static bool needs_regions(ProtocolPart part) {
    return part == ProtocolPart::kAr || part == ProtocolPart::kGap;
  }

  std::vector<ProtocolPart> parts_;
};

std::int64_t refresh_of(const ProtocolOptions& options, std::int64_t seq_len) {
  const std::int64_t refresh =
      options.refresh == 0 ? std::max<std::int64_t>(1, seq_len / 16) : options.refresh;
  check_range(refresh > 0 && refresh <= seq_len, "--refresh", refresh,
              fmt::format("1 to the {} tokens of a window", seq_len));
  return refresh;
}

/// First position that training scores. Throws where a window is too short to have a state.
std::int64_t first_scored_of(const LoadedRun& run, std::int64_t seq_len) {
  const LbiModel* regions = regions_of(run);
  return regions == nullptr ? 0 : training_slots(regions->config(), seq_len).first_scored;
}

void check_baseline(const LoadedRun& baseline, const LoadedRun& run, std::int64_t first_scored) {
  if (baseline.language_model().vocab_size() != run.language_model().vocab_size()) {
    fail<ConfigError>("--baseline {}: {} tokens in its vocabulary; expected {}, as {}",
                      baseline.name, baseline.language_model().vocab_size(),
                      run.language_model().vocab_size(), run.name);
  }
  const LbiModel* regions = regions_of(baseline);
  const std::int64_t seq_len = run.config.train.seq_len;
  if (regions != nullptr &&
      (sees_future(regions->config()) || first_scored_of(baseline, seq_len) > first_scored)) {
    fail<ConfigError>(
        "--baseline {}: its {} regions see the future of what is scored; expected a causal model",
        baseline.name, enum_name(regions->config().variant));
  }
}

std::vector<double> minus(std::vector<double> a, const std::vector<double>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i] -= b[i];
  }
  return a;
}

struct Losses {
  LossSums whole;      // of full windows
  LossSums refreshed;  // of states of the text so far
  LossSums baseline;
};

/// The states of `paper` are those of a whole window unless made again; of all other variants, what
/// is scored has read no later token in the first place.
bool needs_refresh(const LoadedRun& run) {
  const LbiModel* regions = regions_of(run);
  return regions != nullptr && regions->config().variant == RegionsVariant::kPaper;
}

FlipResult largest_flip(LoadedRun& run, const Tensor& tokens, std::int64_t first_scored) {
  const std::int64_t seq_len = tokens.dim(1);
  const std::int64_t first = first_scored + 1;
  const std::int64_t last = seq_len - 1;
  if (first > last) {
    fail<ConfigError>(
        "--protocol flip: no token of the {} of a window is behind a scored position; expected a "
        "longer window",
        seq_len);
  }
  const std::int64_t count = std::min(kFlips, last - first + 1);
  FlipResult result{
      .changed = last, .position = last - 1, .num_tokens = count, .num_windows = tokens.dim(0)};
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t changed = count == 1 ? last : first + (last - first) * i / (count - 1);
    const auto changes = logit_changes(*run.ctx, run.language_model(), tokens, changed);
    for (std::int64_t t = first_scored; t < changed; ++t) {
      if (changes[static_cast<std::size_t>(t)] > result.largest) {
        result.largest = changes[static_cast<std::size_t>(t)];
        result.changed = changed;
        result.position = t;
      }
    }
  }
  return result;
}

/// Makes scores and curves of the losses.
class Scoring {
 public:
  Scoring(const Losses& losses, const ProtocolOptions& options, ProtocolResult& result)
      : losses_(losses), has_baseline_(options.baseline != nullptr), result_(result) {}

  void add(std::string name, std::string label, const LossSums& losses, std::int64_t first) {
    const std::vector<double> means = losses.window_means(first);
    ProtocolScore score = score_of(std::move(name), std::move(label), means, first);
    if (has_baseline_) {
      const std::vector<double> others = losses_.baseline.window_means(first);
      score.baseline = estimate(others);
      score.difference = estimate(minus(means, others));
    }
    result_.scores.push_back(std::move(score));
  }

  void add_gap(std::int64_t first) {
    const auto gaps =
        minus(losses_.refreshed.window_means(first), losses_.whole.window_means(first));
    result_.scores.push_back(
        score_of("gap", fmt::format("ar - tf, both from position {} on", first), gaps, first));
  }

  void add_curves(std::int64_t first, bool has_refreshed, std::int64_t first_refreshed) {
    result_.curves.push_back({.name = "tf", .nats = losses_.whole.position_means(first)});
    if (has_refreshed) {
      result_.curves.push_back(
          {.name = "ar", .nats = losses_.refreshed.position_means(first_refreshed)});
    }
    if (has_baseline_) {
      result_.curves.push_back(
          {.name = "baseline", .nats = losses_.baseline.position_means(first)});
    }
  }

 private:
  ProtocolScore score_of(std::string name, std::string label, const std::vector<double>& means,
                         std::int64_t first) const {
    ProtocolScore score{.name = std::move(name),
                        .label = std::move(label),
                        .nats = estimate(means),
                        .tokens = result_.windows * (result_.seq_len - first),
                        .baseline = {},
                        .difference = {}};
    GHOST_CHECK(std::isfinite(score.nats.mean), "{}: its score {} is {}", result_.weights,
                score.name, score.nats.mean);
    return score;
  }

  const Losses& losses_;
  bool has_baseline_;
  ProtocolResult& result_;
};

std::string whole_label(const LoadedRun& run, std::int64_t first_scored) {
  if (const auto label = loss_label(run.config.model.regions); !label.empty()) {
    return std::string(label);
  }
  const std::string label = "teacher-forced, sees no future";
  return first_scored == 0 ? label : fmt::format("{}, from position {} on", label, first_scored);
}

std::string refreshed_label(const LoadedRun& run, std::int64_t refresh, std::int64_t first) {
  if (!needs_refresh(run)) {
    return fmt::format("autoregressive, from position {} on", first);
  }
  return refresh == 1 ? "autoregressive, new states every token"
                      : fmt::format("autoregressive, new states every {} tokens", refresh);
}

/// What is known before anything is measured.
ProtocolResult described(const LoadedRun& run, const ProtocolOptions& options) {
  const std::optional<RegionsConfig>& regions = run.config.model.regions;
  return {.weights = run.name,
          .architecture = std::string(run.model->architecture()),
          .variant = regions.has_value() ? std::string(enum_name(regions->variant)) : "",
          .ablation = regions.has_value() ? std::string(enum_name(regions->ablation)) : "",
          .dtype = std::string(enum_name(run.config.train.dtype)),
          .baseline = options.baseline == nullptr ? "" : options.baseline->name,
          .step = run.step,
          .seq_len = run.config.train.seq_len,
          .windows = 0,
          .first_scored = first_scored_of(run, run.config.train.seq_len),
          .refresh = 0,
          .sees_future = regions.has_value() && sees_future(*regions),
          .scores = {},
          .curves = {},
          .flip = {}};
}

/// `refresh`: 0 where losses of states of the text so far are not asked for.
void add_losses(LoadedRun& run, const ProtocolOptions& options, std::int64_t refresh,
                const Batch& tokens, Losses& losses) {
  Context& ctx = *run.ctx;
  const auto whole = position_losses(ctx, run.language_model(), tokens.inputs(), tokens.targets());
  losses.whole.add(whole);
  if (refresh > 0) {
    losses.refreshed.add(
        needs_refresh(run)
            ? refreshed_losses(ctx, *regions_of(run), tokens.inputs(), tokens.targets(), refresh)
            : whole);
  }
  if (options.baseline != nullptr) {
    losses.baseline.add(position_losses(*options.baseline->ctx, options.baseline->language_model(),
                                        tokens.inputs(), tokens.targets()));
  }
}

}  // namespace

ProtocolResult run_protocol(LoadedRun& run, const ProtocolOptions& options) {
  run.language_model();  // or it throws
  const Parts parts(run, options.parts);
  ProtocolResult result = described(run, options);
  const std::int64_t seq_len = result.seq_len;
  const std::int64_t first = result.first_scored;
  if (parts.has_refreshed()) {
    result.refresh = refresh_of(options, seq_len);
  }
  if (options.baseline != nullptr) {
    check_baseline(*options.baseline, run, first);
  }
  const TokenDataset val = open_split(run);
  const TrainConfig& train = run.config.train;
  const EvalBatches batches(val, run.config.data.eval_windows,
                            {.batch_size = train.batch_size, .seq_len = seq_len},
                            options.max_batches);
  result.windows = batches.num_batches() * train.batch_size;

  Batch tokens(*run.ctx, run.model->batch_layout(train.batch_size, seq_len, DType::kF32));
  Losses losses{LossSums(seq_len), LossSums(seq_len), LossSums(seq_len)};
  for (std::int64_t batch = 0; batch < batches.num_batches(); ++batch) {
    tokens.load([&](std::span<std::int32_t> inputs, std::span<std::int32_t> targets) {
      batches.fill(/*evaluation=*/0, batch, inputs, targets);
    });
    run.ctx->begin_pass(static_cast<std::uint64_t>(train.seed), /*step=*/batch);
    add_losses(run, options, result.refresh, tokens, losses);
    if (batch == 0 && parts.has(ProtocolPart::kFlip)) {
      result.flip = largest_flip(run, tokens.inputs(), first);
    }
  }

  Scoring scoring(losses, options, result);
  const std::int64_t first_refreshed = std::max(first, result.refresh - 1);
  if (parts.has(ProtocolPart::kTf)) {
    scoring.add("tf", whole_label(run, first), losses.whole, first);
  }
  if (parts.has(ProtocolPart::kLast)) {
    scoring.add("last", "last position of full windows, sees no future", losses.whole, seq_len - 1);
  }
  if (parts.has(ProtocolPart::kAr)) {
    scoring.add("ar", refreshed_label(run, result.refresh, first_refreshed), losses.refreshed,
                first_refreshed);
  }
  if (parts.has(ProtocolPart::kGap)) {
    scoring.add_gap(first_refreshed);
  }
  if (parts.has(ProtocolPart::kPos)) {
    scoring.add_curves(first, parts.has_refreshed(), first_refreshed);
  }
  return result;
}

}  // namespace ghost
