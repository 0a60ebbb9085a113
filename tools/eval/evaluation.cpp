#include "tools/eval/evaluation.h"

#include <cmath>
#include <numbers>

#include "data/batch_source.h"
#include "data/data_config.h"
#include "data/tokenizer_file.h"
#include "engine/tensor/primitives.h"
#include "tools/eval/score_sums.h"
#include "tools/run/batch.h"
#include "tools/run/run_data.h"

namespace ghost {
namespace {

bool is_same(const Tokenizer& a, const Tokenizer& b) {
  if (a.kind() != b.kind() || a.vocab_size() != b.vocab_size()) {
    return false;
  }
  const auto* left = dynamic_cast<const CharTokenizer*>(&a);
  const auto* right = dynamic_cast<const CharTokenizer*>(&b);
  return left == nullptr || right == nullptr || left->characters() == right->characters();
}

/// The side file beside the split, where there is one, must be the run's tokenizer.
void check_tokenizer(const LoadedRun& run, const TokenDataset& val) {
  const auto side_file = val.shards().front().path().parent_path() / "tokenizer.json";
  if (run.tokenizer == nullptr || !std::filesystem::exists(side_file)) {
    return;
  }
  const auto found = load_tokenizer(side_file);
  if (!is_same(*run.tokenizer, *found)) {
    fail<ConfigError>("data.val: {} is another tokenizer ({}, {} tokens) than the run's ({}, {})",
                      side_file.string(), tokenizer_kind_name(found->kind()), found->vocab_size(),
                      tokenizer_kind_name(run.tokenizer->kind()), run.tokenizer->vocab_size());
  }
}

std::int64_t text_bytes(const Tokenizer& tokenizer, std::span<const std::int32_t> tokens) {
  std::vector<std::int32_t> text(tokens.begin(), tokens.end());
  if (const auto mark = tokenizer.end_of_text()) {
    std::erase(text, *mark);
  }
  return static_cast<std::int64_t>(tokenizer.decode(text).size());
}

TokenDataset open_data(const LoadedRun& run) {
  const std::int64_t vocab_size =
      run.tokenizer == nullptr ? run.language_model().vocab_size() : run.tokenizer->vocab_size();
  try {
    return open_val_data(run.config.data, vocab_size);
  } catch (const ConfigError&) {
    throw;
  } catch (const Error& failure) {
    fail<ConfigError>("data.val: {}", failure.what());
  }
}

}  // namespace

TokenDataset open_split(const LoadedRun& run) {
  TokenDataset val = open_data(run);
  check_tokenizer(run, val);
  return val;
}

double Evaluation::perplexity() const { return std::exp(val_loss); }

double Evaluation::bits_per_token() const { return val_loss / std::numbers::ln2; }

std::optional<double> Evaluation::bits_per_byte() const {
  if (num_bytes.value_or(0) == 0) {
    return std::nullopt;
  }
  return bits_per_token() * (static_cast<double>(tokens) / static_cast<double>(*num_bytes));
}

namespace {

Evaluation evaluate_text(LoadedRun& run, std::int64_t max_batches) {
  const TokenDataset val = open_split(run);
  const TrainConfig& train = run.config.train;
  const EvalBatches batches(val, run.config.data.eval_windows,
                            {.batch_size = train.batch_size, .seq_len = train.seq_len},
                            max_batches);
  Context& ctx = *run.ctx;
  const Shape shape{train.batch_size, train.seq_len};
  Batch tokens(ctx, run.model->batch_layout(train.batch_size, train.seq_len, DType::kF32));
  const std::int64_t evaluation = evaluation_at(run.step, run.config.eval.every);
  Evaluation result{.batches = batches.num_batches(),
                    .tokens = batches.num_batches() * shape.numel()};
  double sum = 0;
  std::int64_t num_bytes = 0;
  for (std::int64_t batch = 0; batch < batches.num_batches(); ++batch) {
    tokens.load([&](std::span<std::int32_t> inputs, std::span<std::int32_t> targets) {
      batches.fill(evaluation, batch, inputs, targets);
    });
    sum += item(run.model->loss(ctx, tokens.inputs(), tokens.targets()));
    if (run.tokenizer != nullptr) {
      num_bytes += text_bytes(*run.tokenizer, tokens.host_targets());
    }
  }
  result.val_loss = sum / static_cast<double>(batches.num_batches());
  if (run.tokenizer != nullptr) {
    result.num_bytes = num_bytes;
  }
  return result;
}

Evaluation evaluate_samples(LoadedRun& run, std::int64_t max_batches) {
  Config config = run.config;
  config.eval.batches = max_batches;
  const auto feed = open_eval_feed(config);
  Context& ctx = *run.ctx;
  const TrainConfig& train = config.train;
  Batch batch(
      ctx, run.model->batch_layout(train.batch_size, train.seq_len, activation_dtype(train.dtype)));
  const std::int64_t evaluation = evaluation_at(run.step, config.eval.every);
  Evaluation result{.batches = feed->num_eval_batches(), .tokens = 0};
  ScoreSums scores(result.batches);
  for (std::int64_t number = 0; number < result.batches; ++number) {
    batch.load([&](const HostElements& inputs, const HostElements& targets) {
      feed->fill_eval(evaluation, number, inputs, targets);
    });
    const std::int64_t rows = feed->eval_rows(number);
    scores.set(number, run.model->score_batch(ctx, batch.inputs().slice(0, rows),
                                              batch.targets().slice(0, rows)));
    result.tokens += rows;
  }
  result.val_loss = scores.loss();
  result.score = scores.score(*run.model);
  return result;
}

}  // namespace

Evaluation evaluate(LoadedRun& run, std::int64_t max_batches) {
  Evaluation result = run.config.model.is_language_model() ? evaluate_text(run, max_batches)
                                                           : evaluate_samples(run, max_batches);
  GHOST_CHECK(std::isfinite(result.val_loss), "{}: the validation loss is {}", run.name,
              result.val_loss);
  return result;
}

}  // namespace ghost
