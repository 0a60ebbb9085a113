#pragma once

#include <memory>
#include <optional>
#include <string>

#include "data/data_config.h"
#include "engine/config/config_tree.h"
#include "engine/config/enum_names.h"
#include "models/cnn/cnn_config.h"
#include "models/gpt/gpt_config.h"
#include "models/hybrid/hybrid_config.h"
#include "models/language_model.h"
#include "models/lbi/regions_config.h"
#include "models/mlp/dense_config.h"
#include "models/pinn/pinn_config.h"

namespace ghost {

enum class ModelType { kGpt, kMamba2, kMamba3, kHybrid, kMlp, kCnn, kPinn };

template <>
struct EnumNames<ModelType> {
  static constexpr EnumName<ModelType> kNames[] = {
      {ModelType::kGpt, "gpt"},       {ModelType::kMamba2, "mamba2"},
      {ModelType::kMamba3, "mamba3"}, {ModelType::kHybrid, "hybrid"},
      {ModelType::kMlp, "mlp"},       {ModelType::kCnn, "cnn"},
      {ModelType::kPinn, "pinn"}};
};

/// What a model must know of the data that it reads.
struct DataFacts {
  DataFacts() = default;
  DataFacts(std::int64_t tokens) : vocab_size(tokens) {}  // NOLINT: of text there is but this

  std::int64_t vocab_size = 0;  // of the tokenizer; 0 without one
  Shape sample;                 // of an image: channels, height, width
  std::int64_t classes = 0;
  std::int64_t boundary_points = 0;  // the last ones of a batch of points
};

/// The `model` section: which architecture, and its sizes. Each type has keys of its own.
struct ModelConfig {
  ModelType type = ModelType::kGpt;
  GptConfig gpt;
  HybridConfig hybrid;  // of all other types; mamba2 and mamba3 set its layer_types
  DenseConfig mlp;
  CnnConfig cnn;
  PinnConfig pinn;
  std::optional<RegionsConfig> regions;  // where the file has the section: LbiModel of these layers

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("type", type, "architecture");
    if (type == ModelType::kMlp) {
      mlp.each_field(visit);
      return;
    }
    if (type == ModelType::kCnn) {
      cnn.each_field(visit);
      return;
    }
    if (type == ModelType::kPinn) {
      pinn.each_field(visit);
      return;
    }
    if (regions.has_value()) {
      visit("regions", *regions, "");
    }
    if (type == ModelType::kGpt) {
      gpt.each_field(visit);
      return;
    }
    if (type == ModelType::kHybrid) {
      visit("layer_types", hybrid.layer_types, "mixers of the layers, repeated to the last one");
    }
    hybrid.each_shared_field(visit);
    if (type != ModelType::kMamba3) {
      visit("mamba2", hybrid.mamba2, "");
    }
    if (type != ModelType::kMamba2) {
      visit("mamba3", hybrid.mamba3, "");
    }
    if (type == ModelType::kHybrid) {
      visit("attention", hybrid.attention, "");
    }
  }
  /// Takes the type from a `model` section, as the other keys hang on it, and whether the section
  /// has `regions`.
  void choose_fields(const ConfigNode& section);
  void validate(const std::string& prefix) const;

  /// `hybrid` with the layers that `type` stands for.
  HybridConfig as_hybrid() const;
  bool is_gpt() const { return type == ModelType::kGpt; }
  DataKind data_kind() const;
  bool is_language_model() const { return data_kind() == DataKind::kTokens; }
  /// Hidden ones, of models without blocks.
  std::int64_t layers() const;
  /// Widths of the hidden dense layers, of models without blocks.
  const std::vector<std::int64_t>& widths() const;
  /// Of the residual stream, or of the first hidden layer.
  std::int64_t channels() const;
  /// 0 for models without a vocabulary.
  std::int64_t vocab_size() const;
  /// Longest sequence the model can read; 0 when there is no limit.
  std::int64_t max_seq_len() const { return is_gpt() ? gpt.max_seq_len : 0; }
};

/// The language model that the section describes, its parameters declared and not yet allocated.
/// `data_vocab_size` stands in where the section leaves the vocabulary to the data; throws
/// ghost::ConfigError when the data has more tokens than the model, or the model reads no tokens.
std::unique_ptr<LanguageModel> make_model(const ModelConfig& config, std::int64_t data_vocab_size);

/// The model that the section describes, of whatever kind.
std::unique_ptr<Model> make_any_model(const ModelConfig& config, const DataFacts& data);

}  // namespace ghost
