#include "models/model_config.h"

#include "engine/config/check_range.h"
#include "models/gpt/gpt.h"
#include "models/hybrid/hybrid.h"
#include "models/lbi/lbi_model.h"

namespace ghost {

void ModelConfig::choose_fields(const ConfigNode& section) {
  const ConfigNode* chosen = section.find("type");
  for (const auto& [known, name] : EnumNames<ModelType>::kNames) {
    if (chosen != nullptr && chosen->is_scalar() && chosen->scalar == name) {
      type = known;
    }
  }
  if (section.find("regions") != nullptr && !regions.has_value()) {
    regions.emplace();
  }
}

void ModelConfig::validate(const std::string& prefix) const {
  is_gpt() ? gpt.validate(prefix) : as_hybrid().validate(prefix);
  if (regions.has_value()) {
    check_range(is_gpt() || !hybrid.residual_in_f32, prefix + "residual_in_f32",
                hybrid.residual_in_f32, "false where the model has regions");
    regions->validate_for(layers(), prefix + "regions.");
  }
}

HybridConfig ModelConfig::as_hybrid() const {
  HybridConfig config = hybrid;
  if (type == ModelType::kMamba2) {
    config.layer_types = {{LayerType::kMamba2}};
  } else if (type == ModelType::kMamba3) {
    config.layer_types = {{LayerType::kMamba3}};
  }
  return config;
}

std::unique_ptr<LanguageModel> make_model(const ModelConfig& config, std::int64_t data_vocab_size) {
  const std::int64_t vocab_size = config.vocab_size() == 0 ? data_vocab_size : config.vocab_size();
  if (vocab_size < data_vocab_size) {
    fail<ConfigError>("model.vocab_size is {}; the tokenizer of the data has {} tokens", vocab_size,
                      data_vocab_size);
  }
  std::unique_ptr<LayeredModel> layers;
  if (config.is_gpt()) {
    GptConfig gpt = config.gpt;
    gpt.vocab_size = vocab_size;
    layers = std::make_unique<Gpt>(gpt);
  } else {
    HybridConfig hybrid = config.as_hybrid();
    hybrid.vocab_size = vocab_size;
    layers = std::make_unique<Hybrid>(hybrid, std::string(enum_name(config.type)));
  }
  if (config.regions.has_value()) {
    return std::make_unique<LbiModel>(*config.regions, std::move(layers));
  }
  return layers;
}

}  // namespace ghost
