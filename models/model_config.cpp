#include "models/model_config.h"

#include "engine/config/check_range.h"
#include "models/cnn/cnn.h"
#include "models/gpt/gpt.h"
#include "models/hybrid/hybrid.h"
#include "models/lbi/lbi_model.h"
#include "models/mlp/mlp.h"
#include "models/pinn/pinn.h"

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
  switch (type) {
    case ModelType::kGpt:
      gpt.validate(prefix);
      break;
    case ModelType::kMamba2:
    case ModelType::kMamba3:
    case ModelType::kHybrid:
      as_hybrid().validate(prefix);
      break;
    case ModelType::kMlp:
      mlp.validate(prefix);
      return;
    case ModelType::kCnn:
      cnn.validate(prefix);
      return;
    case ModelType::kPinn:
      pinn.validate(prefix);
      return;
  }
  if (regions.has_value()) {
    check_range(is_gpt() || !hybrid.residual_in_f32, prefix + "residual_in_f32",
                hybrid.residual_in_f32, "false where the model has regions");
    regions->validate_for(layers(), prefix + "regions.");
  }
}

DataKind ModelConfig::data_kind() const {
  switch (type) {
    case ModelType::kGpt:
    case ModelType::kMamba2:
    case ModelType::kMamba3:
    case ModelType::kHybrid:
      return DataKind::kTokens;
    case ModelType::kMlp:
    case ModelType::kCnn:
      return DataKind::kImages;
    case ModelType::kPinn:
      return DataKind::kPoints;
  }
  fail("a model of an unknown type");
}

const std::vector<std::int64_t>& ModelConfig::widths() const {
  if (type == ModelType::kPinn) {
    return pinn.widths;
  }
  return type == ModelType::kCnn ? cnn.dense.widths : mlp.widths;
}

std::int64_t ModelConfig::layers() const {
  if (!is_language_model()) {
    return static_cast<std::int64_t>(widths().size());
  }
  return is_gpt() ? gpt.layers : hybrid.layers;
}

std::int64_t ModelConfig::channels() const {
  if (!is_language_model()) {
    return widths().empty() ? 1 : widths().front();
  }
  return is_gpt() ? gpt.channels : hybrid.channels;
}

std::int64_t ModelConfig::vocab_size() const {
  if (!is_language_model()) {
    return 0;
  }
  return is_gpt() ? gpt.vocab_size : hybrid.vocab_size;
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
  if (!config.is_language_model()) {
    fail<ConfigError>("model.type is {}; expected a language model", enum_name(config.type));
  }
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

std::unique_ptr<Model> make_any_model(const ModelConfig& config, const DataFacts& data) {
  if (config.type == ModelType::kMlp) {
    return std::make_unique<Mlp>(config.mlp, data.sample, data.classes);
  }
  if (config.type == ModelType::kCnn) {
    return std::make_unique<Cnn>(config.cnn, data.sample, data.classes);
  }
  if (config.type == ModelType::kPinn) {
    return std::make_unique<Pinn>(config.pinn, data.boundary_points);
  }
  return make_model(config, data.vocab_size);
}

}  // namespace ghost
