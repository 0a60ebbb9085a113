#include "data/batch_source.h"

#include <algorithm>
#include <vector>

#include "engine/core/error.h"

namespace ghost {
namespace {

SampledStream describe(const TokenDataset& dataset, std::int64_t seq_len, std::uint64_t seed) {
  return {.name = dataset.name(),
          .shard_tokens = dataset.shard_tokens(),
          .seq_len = seq_len,
          .seed = seed};
}

SamplerKind sampler_of(EvalWindows windows) {
  switch (windows) {
    case EvalWindows::kFixed:
      return SamplerKind::kSequential;
    case EvalWindows::kRandom:
      return SamplerKind::kRandom;
    case EvalWindows::kStream:
      return SamplerKind::kStream;
  }
  fail("evaluation windows of an unknown kind");
}

}  // namespace

BatchSource::BatchSource(const TokenDataset& dataset, SamplerKind sampler, BatchShape shape,
                         std::uint64_t seed, std::int64_t skip_windows)
    : dataset_(dataset),
      shape_(shape),
      skip_windows_(skip_windows),
      sampler_(make_sampler(sampler, describe(dataset, shape.seq_len, seed))) {
  GHOST_CHECK(shape.batch_size > 0, "{}: batch_size is {}; expected a positive number",
              dataset.name(), shape.batch_size);
  GHOST_CHECK(skip_windows >= 0, "{}: {} windows to skip; expected zero or more", dataset.name(),
              skip_windows);
}

void BatchSource::fill(const BatchPosition& position, std::span<std::int32_t> inputs,
                       std::span<std::int32_t> targets) const {
  const auto [rows, seq_len] = shape_;
  const auto expected = static_cast<std::size_t>(rows * seq_len);
  GHOST_CHECK(inputs.size() == expected && targets.size() == expected,
              "batch of {} inputs and {} targets; expected {} x {} of each", inputs.size(),
              targets.size(), rows, seq_len);
  GHOST_CHECK(
      position.step >= 0 && position.micro_step >= 0 &&
          position.micro_step < position.micro_steps && position.rank >= 0 &&
          position.rank < position.world_size,
      "batch position: step {}, micro-step {} of {}, rank {} of {}; expected each inside of "
      "its range",
      position.step, position.micro_step, position.micro_steps, position.rank, position.world_size);
  const std::int64_t turn = position.number();
  std::vector<std::int32_t> window(static_cast<std::size_t>(seq_len + 1));
  for (std::int64_t row = 0; row < rows; ++row) {
    dataset_.read(sampler_->start(skip_windows_ + turn * rows + row), window);
    std::copy(window.begin(), window.end() - 1, inputs.begin() + row * seq_len);
    std::copy(window.begin() + 1, window.end(), targets.begin() + row * seq_len);
  }
}

std::int64_t evaluation_at(std::int64_t step, std::int64_t every) {
  return every > 0 && step > 0 ? (step - 1) / every : 0;
}

EvalBatches::EvalBatches(const TokenDataset& dataset, EvalWindows windows, BatchShape shape,
                         std::int64_t max_batches, std::uint64_t seed)
    : windows_(windows), source_(dataset, sampler_of(windows), shape, seed) {
  const std::int64_t whole = source_.windows_per_epoch() / shape.batch_size;
  if (windows != EvalWindows::kFixed && max_batches > 0) {
    num_batches_ = max_batches;  // windows may come again, so any number can be had
    return;
  }
  GHOST_CHECK(whole > 0, "{}: {} windows of {} tokens; one evaluation batch needs {}",
              dataset.name(), source_.windows_per_epoch(), shape.seq_len, shape.batch_size);
  num_batches_ = max_batches > 0 ? std::min(max_batches, whole) : whole;
}

void EvalBatches::fill(std::int64_t evaluation, std::int64_t batch, std::span<std::int32_t> inputs,
                       std::span<std::int32_t> targets) const {
  GHOST_CHECK(batch >= 0 && batch < num_batches_, "evaluation batch {} asked for; there are {}",
              batch, num_batches_);
  const std::int64_t before = windows_ == EvalWindows::kStream ? evaluation * num_batches_ : 0;
  source_.fill({.step = before + batch}, inputs, targets);
}

}  // namespace ghost
