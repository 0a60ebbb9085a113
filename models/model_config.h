#pragma once

#include <memory>
#include <string>

#include "engine/config/enum_names.h"
#include "models/gpt/gpt_config.h"
#include "models/language_model.h"

namespace ghost {

enum class ModelType { kGpt };

template <>
struct EnumNames<ModelType> {
  static constexpr EnumName<ModelType> kNames[] = {{ModelType::kGpt, "gpt"}};
};

/// The `model` section: which architecture, and its sizes.
struct ModelConfig {
  ModelType type = ModelType::kGpt;
  GptConfig gpt;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("type", type, "architecture");
    gpt.each_field(visit);
  }
  void validate(const std::string& prefix) const { gpt.validate(prefix); }
};

/// The model that the section describes, its parameters declared and not yet allocated.
/// `data_vocab_size` stands in where the section leaves the vocabulary to the data; throws
/// ghost::ConfigError when the data has more tokens than the model.
std::unique_ptr<LanguageModel> make_model(const ModelConfig& config, std::int64_t data_vocab_size);

}  // namespace ghost
