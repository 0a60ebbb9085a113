#include "tools/run/run_data.h"

namespace ghost {
namespace {

RunData open_tokens(const Config& config) {
  RunData data;
  data.tokenizer = open_tokenizer(config.data);
  data.facts.vocab_size = data.tokenizer == nullptr ? 0 : data.tokenizer->vocab_size();
  // Without a tokenizer the model's vocabulary is what tokens are checked against.
  const std::int64_t bound =
      data.facts.vocab_size > 0 ? data.facts.vocab_size : config.model.vocab_size();
  data.train = std::make_unique<TokenDataset>(open_train_data(config.data, bound));
  if (!config.data.val.empty()) {
    data.val = std::make_unique<TokenDataset>(open_val_data(config.data, bound));
  }
  data.feed = make_token_feed(config, *data.train, data.val.get());
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

}  // namespace

RunData open_run_data(const Config& config) {
  switch (config.data.kind) {
    case DataKind::kTokens:
      return open_tokens(config);
    case DataKind::kImages: {
      RunData data;
      data.facts = data_facts_of(config);
      data.feed = make_image_feed(config, Splits::kAll);
      return data;
    }
    case DataKind::kPoints: {
      RunData data;
      data.facts = data_facts_of(config);
      data.feed = make_point_feed(config);
      return data;
    }
  }
  fail("data of an unknown kind");
}

std::unique_ptr<DataFeed> open_eval_feed(const Config& config) {
  switch (config.data.kind) {
    case DataKind::kTokens:
      break;
    case DataKind::kImages:
      return make_image_feed(config, Splits::kVal);
    case DataKind::kPoints:
      return make_point_feed(config);
  }
  fail("evaluation of text reads its own windows");
}

DataFacts data_facts_of(const Config& config) {
  DataFacts facts;
  switch (config.data.kind) {
    case DataKind::kTokens:
      facts.vocab_size = vocab_size_of(config);
      break;
    case DataKind::kImages: {
      const auto [channels, height, width] = image_shape(config.data);
      facts.sample = {channels, height, width};
      facts.classes = kNumImageClasses;
      break;
    }
    case DataKind::kPoints:
      facts.boundary_points = config.data.boundary_points;
      break;
  }
  return facts;
}

}  // namespace ghost
