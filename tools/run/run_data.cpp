#include "tools/run/run_data.h"

namespace ghost {

RunData open_run_data(const Config& config) {
  RunData data;
  data.tokenizer = open_tokenizer(config.data);
  data.vocab_size = data.tokenizer == nullptr ? 0 : data.tokenizer->vocab_size();
  // Without a tokenizer the model's vocabulary is what tokens are checked against.
  const std::int64_t bound = data.vocab_size > 0 ? data.vocab_size : config.model.vocab_size();
  data.train.emplace(open_train_data(config.data, bound));
  if (!config.data.val.empty()) {
    data.val.emplace(open_val_data(config.data, bound));
  }
  return data;
}

std::int64_t vocab_size_of(const Config& config) {
  if (config.model.vocab_size() > 0) {
    return config.model.vocab_size();
  }
  const auto tokenizer = open_tokenizer(config.data);
  if (tokenizer == nullptr) {
    fail<ConfigError>("model.vocab_size is 0 and the data has no tokenizer.json; expected one");
  }
  return tokenizer->vocab_size();
}

}  // namespace ghost
