#include "tests/support/tiny_language_model.h"

#include "tests/support/model_gradients.h"
#include "tests/support/op_check.h"

namespace ghost::test {

TinyLanguageModel::TinyLanguageModel(const ModelConfig& config, std::int64_t batch,
                                     std::int64_t seq_len)
    : ctx(Device{}), model(make_model(config, 0)) {
  ParameterStore& parameters = model->parameters();
  parameters.materialize(ctx.allocator(), DType::kF64);
  parameters.initialize(/*seed=*/5);
  std::uint64_t seed = 100;
  for (const auto& parameter : parameters.all()) {
    // Gains, biases and steps leave their initial values: a missing term would not show at 0 or 1.
    const auto noise = values_of(normal(parameter->shape, ++seed));
    for (std::size_t i = 0; i < noise.size(); ++i) {
      parameter->value.span<double>()[i] += (parameter->shape.rank() == 2 ? 0.3 : 0.2) * noise[i];
    }
  }
  const std::int64_t vocab = model->vocab_size();
  tokens = integers({batch, seq_len}, vocab, 1);
  targets = integers({batch, seq_len}, vocab, 2);
}

double TinyLanguageModel::loss() {
  ctx.begin_pass(/*seed=*/1, /*step=*/0);
  return values_of(model->loss(ctx, tokens, targets))[0];
}

std::vector<double> TinyLanguageModel::gradients(const ResidualsConfig& residuals,
                                                 std::int64_t step) {
  return gradients_of(ctx, *model, residuals, step, tokens, targets);
}

std::vector<NamedModel> tiny_models() {
  const HybridConfig shared{.layers = 2,
                            .channels = 6,
                            .vocab_size = 11,
                            .pad_vocab_to = 4,
                            .mamba2 = {.state = 5, .head_dim = 4, .chunk = 2},
                            .mamba3 = {.state = 6, .head_dim = 4, .chunk = 2}};
  const auto make = [&](const std::string& name, ModelType type, const auto& change) {
    ModelConfig config{.type = type, .hybrid = shared};
    change(config.hybrid);
    return NamedModel{name, config};
  };
  return {
      make("mamba2", ModelType::kMamba2, [](HybridConfig&) {}),
      make("mamba2 with groups, norm first, clamped steps, untied head", ModelType::kMamba2,
           [](HybridConfig& c) {
             c.tied_head = false;
             c.mamba2 = {.state = 3,
                         .head_dim = 3,
                         .groups = 2,
                         .conv = 3,
                         .chunk = 3,
                         .norm_before_gate = true,
                         .norm_group = 4,
                         .dt_limit = {0.2, 0.9}};
           }),
      make("mamba3", ModelType::kMamba3, [](HybridConfig&) {}),
      make("mamba3 with groups, all turning, heavy tail, norm, MLP", ModelType::kMamba3,
           [](HybridConfig& c) {
             c.mamba3 = {.state = 4,
                         .head_dim = 3,
                         .groups = 2,
                         .chunk = 3,
                         .rope_fraction = 1,
                         .a_activation = DecayActivation::kHeavyTail,
                         .is_outproj_norm = true,
                         .mlp = 7};
           }),
      make("mamba3 MIMO", ModelType::kMamba3,
           [](HybridConfig& c) {
             c.mamba3.mimo_rank = 3;
             c.mamba3.state = 8;
           }),
      make("mamba3 MIMO with groups, all turning, norm", ModelType::kMamba3,
           [](HybridConfig& c) {
             c.mamba3 = {.state = 4,
                         .head_dim = 3,
                         .groups = 2,
                         .mimo_rank = 2,
                         .chunk = 3,
                         .rope_fraction = 1,
                         .is_outproj_norm = true};
           }),
      make("hybrid", ModelType::kHybrid,
           [](HybridConfig& c) {
             c.layers = 3;
             c.layer_types = {{LayerType::kMamba2, LayerType::kAttention, LayerType::kMamba3}};
             c.attention = {.heads = 4, .kv_heads = 2, .head_dim = 4, .conv = 3, .mlp = 5};
           }),
      make("attention without positions", ModelType::kHybrid,
           [](HybridConfig& c) {
             c.layer_types = {{LayerType::kAttention}};
             c.attention = {.heads = 3, .rope_fraction = 0};
           }),
  };
}

}  // namespace ghost::test
