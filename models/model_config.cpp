#include "models/model_config.h"

#include "models/gpt/gpt.h"

namespace ghost {

std::unique_ptr<LanguageModel> make_model(const ModelConfig& config, std::int64_t data_vocab_size) {
  GptConfig gpt = config.gpt;
  if (gpt.vocab_size == 0) {
    gpt.vocab_size = data_vocab_size;
  }
  if (gpt.vocab_size < data_vocab_size) {
    fail<ConfigError>("model.vocab_size is {}; the tokenizer of the data has {} tokens",
                      gpt.vocab_size, data_vocab_size);
  }
  switch (config.type) {
    case ModelType::kGpt:
      return std::make_unique<Gpt>(gpt);
  }
  fail("a model type without a model");
}

}  // namespace ghost
