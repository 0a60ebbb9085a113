#pragma once

#include <memory>
#include <optional>

#include "data/dataset.h"
#include "data/tokenizer.h"
#include "tools/run/data_feed.h"
#include "tools/run/run_config.h"

namespace ghost {

/// The data that a config names, opened and checked.
struct RunData {
  std::unique_ptr<Tokenizer> tokenizer;  // null when the set has no side file
  DataFacts facts;
  std::unique_ptr<TokenDataset> train;  // of a language model; the feed reads them
  std::unique_ptr<TokenDataset> val;
  std::unique_ptr<DataFeed> feed;
};

/// Throws ghost::ConfigError naming key and file when a set cannot be opened or does not fit.
RunData open_run_data(const Config& config);

/// Only the batches of evaluations, of data other than text. Throws as open_run_data.
std::unique_ptr<DataFeed> open_eval_feed(const Config& config);

/// What a model must know of the data, found without reading more of it than that takes: of text,
/// model.vocab_size or else the tokenizer's. Throws ghost::ConfigError when neither says, and as
/// image_sizes.
DataFacts data_facts_of(const Config& config);

}  // namespace ghost
