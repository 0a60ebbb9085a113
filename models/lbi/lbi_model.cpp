#include "models/lbi/lbi_model.h"

#include <algorithm>
#include <cmath>

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "models/lbi/lbi_pass.h"
#include "models/lbi/pass_loss.h"
#include "models/module.h"
#include "ops/arithmetic.h"

namespace ghost {
namespace {

constexpr std::string_view kInterfaces = "regions.";

/// A text that is read again for every step.
struct TextState final : BlockState {
  std::vector<std::vector<std::int32_t>> tokens;  // of each sequence
  std::int64_t prompt = 0;
};

std::unique_ptr<LayeredModel> checked(const RegionsConfig& config,
                                      std::unique_ptr<LayeredModel> model) {
  config.validate_for(model->num_layers(), "model.regions.");
  return model;
}

}  // namespace

LbiModel::LbiModel(const RegionsConfig& config, std::unique_ptr<LayeredModel> model)
    : config_(config),
      model_(checked(config, std::move(model))),
      architecture_(fmt::format("lbi-{}", model_->architecture())),
      initial_encoder_(
          {model_->parameters(), "regions.initial.", model_->decays_all(), Precision::kValue},
          InterfaceMlp::encoder_widths(config, model_->channels())) {
  const std::int64_t count = num_regions(config, model_->num_layers());
  for (std::int64_t k = 0; k < count; ++k) {
    regions_.emplace_back(config, k, *model_);
  }
}

std::size_t LbiModel::first_region(const Slots& slots) const {
  const bool is_alone = slots.size() == 0 || config_.ablation == StateAblation::kZeroAll;
  return is_alone ? regions_.size() - 1 : 0;
}

Tensor LbiModel::initial_state(Context& ctx, const Tensor& canvas, const Slots& slots) const {
  if (slots.size() == 0) {
    return {};
  }
  if (config_.ablation == StateAblation::kZeroAll) {
    return ctx.zeros({canvas.dim(0), slots.size(), config_.state_dim},
                     statistic_dtype(canvas.dtype()));
  }
  return in_module(ctx, "regions.initial", [&] {
    const Tensor pooled = mean_over_positions(ctx, canvas, slots.pools);
    return ablated(ctx,
                   initial_encoder_(ctx, to_dtype(ctx, pooled, statistic_dtype(canvas.dtype()))));
  });
}

Tensor LbiModel::ablated(Context& ctx, const Tensor& state) const {
  const StateAblation ablation = config_.ablation;
  if (ablation == StateAblation::kNone || ctx.device().is_dry) {
    return state;
  }
  if (ablation == StateAblation::kZeroAll) {
    return ctx.zeros(state.shape(), state.dtype());
  }
  GHOST_CHECK(ctx.tape() == nullptr,
              "model.regions.ablation is {}; it is for evaluation, expected none or zero_all in "
              "training",
              enum_name(ablation));
  const RandomStream stream = ctx.next_stream(Purpose::kGeneration);
  const Tensor out = ctx.empty_like(state);
  const Tensor from = on_host(state);
  const Tensor place = host_place(out);
  visit_real(state.dtype(), [&]<typename T>() {
    for (std::int64_t i = 0; i < state.numel(); ++i) {
      const Philox::Words words = stream.words(static_cast<std::uint32_t>(i));
      const T x = from.data<T>()[i];
      place.data<T>()[i] =
          ablation == StateAblation::kMask
              ? (uniform_from(words[0]) < 0.5F ? x : T{0})
              : x + static_cast<T>(config_.noise * normal_pair(words[0], words[1])[0]);
    }
  });
  copy(out, place);
  return out;
}

Tensor LbiModel::features(Context& ctx, const Tensor& tokens, const Slots& slots) const {
  const Tensor canvas = model_->embed(ctx, tokens, /*start=*/0);
  Tensor state = initial_state(ctx, canvas, slots);
  for (std::size_t k = first_region(slots); k + 1 < regions_.size(); ++k) {
    const Tensor features = regions_[k].features(ctx, canvas, state, slots);
    state = ablated(ctx, regions_[k].next_state(ctx, state, features, slots));
  }
  return regions_.back().features(ctx, canvas, state, slots);
}

Tensor LbiModel::loss(Context& ctx, const Tensor& tokens, const Tensor& targets) {
  Tape* tape = ctx.tape();
  if (tape != nullptr && config_.backward != RegionsBackward::kTape) {
    auto pass = std::make_shared<LbiPass>(*this, tape->plan());
    return ctx.apply<PassLoss<LbiPass>>({tape->watch(tokens), targets}, std::move(pass),
                                        &last_backward_);
  }
  const Slots slots = training_slots(config_, tokens.dim(1));
  return model_->readout_loss(ctx, features(ctx, tokens, slots),
                              scored_targets(ctx, targets, slots.first_scored));
}

Tensor LbiModel::logits(Context& ctx, const Tensor& tokens) {
  const std::int64_t seq_len = tokens.dim(1);
  const bool has_prefix = config_.variant == RegionsVariant::kPrefixLm;
  const std::int64_t prompt = has_prefix ? std::min(config_.prefix, seq_len) : seq_len;
  return logits(ctx, tokens, text_slots(config_, seq_len, prompt));
}

Tensor LbiModel::logits(Context& ctx, const Tensor& tokens, const Slots& slots) const {
  return model_->readout_logits(ctx, features(ctx, tokens, slots));
}

GenerationState LbiModel::start(Context& /*ctx*/, std::int64_t batch, std::int64_t max_length) {
  GenerationState state{.max_length = max_length};
  auto text = std::make_unique<TextState>();
  text->tokens.resize(static_cast<std::size_t>(batch));
  state.blocks.push_back(std::move(text));
  return state;
}

Tensor LbiModel::step(Context& ctx, const Tensor& tokens, GenerationState& state) {
  const Context::Recording off(ctx, nullptr);
  auto& text = dynamic_cast<TextState&>(*state.blocks.at(0));
  const Tensor read = on_host(tokens);
  const std::int64_t batch = read.dim(0);
  const std::int64_t count = read.dim(1);
  state.length += count;
  if (text.prompt == 0) {
    text.prompt = count;
  }
  const Tensor all = ctx.empty({batch, state.length}, DType::kI32, MemoryTag::kBatch);
  const Tensor place = host_place(all);
  for (std::int64_t b = 0; b < batch; ++b) {
    auto& known = text.tokens[static_cast<std::size_t>(b)];
    const std::int32_t* next = read.data<std::int32_t>() + b * count;
    known.insert(known.end(), next, next + count);
    std::copy(known.begin(), known.end(), place.data<std::int32_t>() + b * state.length);
  }
  copy(all, place);
  const Tensor x = features(ctx, all, text_slots(config_, state.length, text.prompt));
  const Tensor last = mean_over_positions(ctx, x, {{state.length - 1, state.length}});
  return model_->readout_logits(ctx, last.reshape({batch, last.dim(2)}));
}

// An interface runs once a slot and not once a token.
double LbiModel::flops_per_token(std::int64_t seq_len) const {
  std::int64_t interfaces = 0;
  for (const auto& parameter : model_->parameters().all()) {
    interfaces += parameter->name.starts_with(kInterfaces) ? parameter->shape.numel() : 0;
  }
  const double per_token = static_cast<double>(text_slots(config_, seq_len, seq_len).size()) /
                           static_cast<double>(seq_len);
  return model_->flops_per_token(seq_len) + 6.0 * static_cast<double>(interfaces) * (per_token - 1);
}

std::int64_t LbiModel::region_of(const Parameter& parameter) const {
  for (const Region& region : regions_) {
    if (parameter.name.starts_with(fmt::format("{}{}.", kInterfaces, region.index()))) {
      return region.index();
    }
    for (std::int64_t block = region.begin(); block < region.end(); ++block) {
      if (parameter.name.starts_with(model_->block_prefix(block))) {
        return region.index();
      }
    }
  }
  return parameter.name.starts_with(kInterfaces) ? 0 : regions_.back().index();
}

Tensor scored_targets(Context& ctx, const Tensor& targets, std::int64_t first_scored) {
  if (first_scored == 0 || ctx.device().is_dry) {
    return targets;
  }
  const Tensor scored = ctx.empty(targets.shape(), targets.dtype(), MemoryTag::kBatch);
  const Tensor place = host_place(scored);
  const Tensor from = on_host(targets);
  const std::int64_t seq_len = targets.dim(1);
  for (std::int64_t i = 0; i < targets.numel(); ++i) {
    place.data<std::int32_t>()[i] = i % seq_len < first_scored ? -1 : from.data<std::int32_t>()[i];
  }
  copy(scored, place);
  return scored;
}

}  // namespace ghost
