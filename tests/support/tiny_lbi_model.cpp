#include "tests/support/tiny_lbi_model.h"

#include <algorithm>
#include <cmath>

#include "engine/autograd/resident_parameters.h"
#include "models/gpt/gpt.h"
#include "models/hybrid/hybrid.h"
#include "tests/support/model_gradients.h"
#include "tests/support/op_check.h"

namespace ghost::test {
namespace {

std::unique_ptr<LayeredModel> make_hybrid(const LayerTypes& types) {
  HybridConfig config{.layers = 5,
                      .channels = 6,
                      .layer_types = types,
                      .vocab_size = 11,
                      .pad_vocab_to = 4,
                      .mamba2 = {.state = 5, .head_dim = 4, .chunk = 2},
                      .mamba3 = {.state = 6, .head_dim = 4, .chunk = 3}};
  config.attention = {.heads = 4, .kv_heads = 2, .head_dim = 4, .conv = 3, .mlp = 5};
  return std::make_unique<Hybrid>(config, "hybrid");
}

GptConfig gpt_config() {
  return {.layers = 5,
          .heads = 3,
          .channels = 6,
          .max_seq_len = 9,
          .vocab_size = 11,
          .pad_vocab_to = 4,
          .tied_head = false};
}

}  // namespace

TinyLbiModel::TinyLbiModel(const RegionsConfig& config, std::unique_ptr<LayeredModel> layers,
                           std::int64_t batch, std::int64_t seq_len)
    : ctx(Device{}), model(config, std::move(layers)) {
  model.parameters().materialize(ctx.allocator(), DType::kF64);
  fill_tiny_values(model.parameters());
  tokens = integers({batch, seq_len}, model.vocab_size(), 1);
  targets = integers({batch, seq_len}, model.vocab_size(), 2);
}

double TinyLbiModel::loss() {
  ctx.begin_pass(/*seed=*/1, /*step=*/0);
  return values_of(model.loss(ctx, tokens, targets))[0];
}

std::vector<double> TinyLbiModel::gradients(const ResidualsConfig& residuals) {
  return gradients_of(ctx, model, residuals, /*step=*/0, tokens, targets);
}

void fill_tiny_values(ParameterStore& parameters) {
  parameters.initialize(/*seed=*/5);
  std::uint64_t seed = 100;
  for (const auto& parameter : parameters.all()) {
    const auto noise = values_of(normal(parameter->shape, ++seed));
    if (!is_resident(*parameter)) {
      continue;
    }
    visit_real(parameter->value.dtype(), [&]<typename T>() {
      for (std::size_t i = 0; i < noise.size(); ++i) {
        T& value = parameter->value.span<T>()[i];
        value += static_cast<T>(0.3 * noise[i]);
      }
    });
  }
}

std::vector<NamedLayers> tiny_layers() {
  return {
      {"gpt",
       []() -> std::unique_ptr<LayeredModel> { return std::make_unique<Gpt>(gpt_config()); }},
      {"mamba2", [] { return make_hybrid({{LayerType::kMamba2}}); }},
      {"mamba3", [] { return make_hybrid({{LayerType::kMamba3}}); }},
      {"hybrid",
       [] {
         return make_hybrid({{LayerType::kMamba3, LayerType::kAttention, LayerType::kMamba2}});
       }},
  };
}

std::unique_ptr<LayeredModel> tiny_tied_gpt() {
  GptConfig config = gpt_config();
  config.tied_head = true;
  return std::make_unique<Gpt>(config);
}

std::unique_ptr<LayeredModel> tiny_gpt_with_dropout() {
  GptConfig config = gpt_config();
  config.dropout = 1.0 / 3;
  return std::make_unique<Gpt>(config);
}

std::vector<RegionsConfig> tiny_regions() {
  const auto make = [](RegionsVariant variant) {
    return RegionsConfig{.layers_per_region = 2,
                         .state_dim = 3,
                         .hidden = 7,
                         .variant = variant,
                         .prefix = 3,
                         .anchor = 2,
                         .chunk = 2};
  };
  return {make(RegionsVariant::kPaper), make(RegionsVariant::kPrefixLm),
          make(RegionsVariant::kAnchor), make(RegionsVariant::kChunked),
          make(RegionsVariant::kMultiAnchor)};
}

double relative_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = a.size() == b.size() ? 0 : INFINITY;
  double scale = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference = std::max(difference, std::abs(a[i] - b[i]));
    scale = std::max(scale, std::abs(b[i]));
  }
  return difference / scale;
}

}  // namespace ghost::test
