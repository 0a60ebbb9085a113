#include "data/data_config.h"

#include "data/tokenizer_file.h"
#include "engine/config/fields.h"
#include "engine/core/error.h"
#include "tests/data/test_files.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

using Tokens = std::vector<std::int32_t>;

TEST_CASE("a data section opens its files and tokenizer", "[data]") {
  const TestDir dir;
  std::filesystem::create_directory(dir / "set");
  write_token_shard(dir / "set/train_000000.bin", Tokens{1, 2, 3}, 256);
  write_token_shard(dir / "set/val_000000.bin", Tokens{4, 5}, 256);
  DataConfig config;
  config.root = dir.path().string();
  config.train = "set/train_*.bin";
  config.val = "set/val_*.bin";
  CHECK(open_train_data(config, 256).num_tokens() == 3);
  CHECK(open_val_data(config, 256).num_tokens() == 2);
  CHECK_THROWS_AS(open_val_data(config, 5), Error);
  CHECK(open_tokenizer(config) == nullptr);
  save_tokenizer(ByteTokenizer(), dir / "set");
  CHECK(open_tokenizer(config)->kind() == TokenizerKind::kByte);
  save_tokenizer(CharTokenizer({U'a'}), dir.path());
  config.tokenizer = "tokenizer.json";
  CHECK(open_tokenizer(config)->kind() == TokenizerKind::kChar);
}

TEST_CASE("a data section without files is refused", "[data]") {
  CHECK(open_tokenizer({}) == nullptr);
  CHECK_THROWS_AS(open_train_data({}, 256), ConfigError);
  CHECK_THROWS_WITH(open_train_data({}, 256),
                    "data.train is empty; expected token files below data.root");
  CHECK_THROWS_WITH(open_val_data({}, 256),
                    "data.val is empty; expected token files below data.root");
}

TEST_CASE("a data section is written as it is read", "[data]") {
  DataConfig config;
  config.format = ShardFormat::kNanogpt;
  config.sampler = SamplerKind::kShuffled;
  config.eval_windows = EvalWindows::kRandom;
  const std::string yaml = write_config(config);
  CHECK(yaml.find("skip_windows: 0") != std::string::npos);
  config.skip_windows = -1;
  CHECK_THROWS_WITH(config.validate("data."),
                    "data.skip_windows is -1; expected zero or a positive integer");
  CHECK(yaml.find("format: nanogpt") != std::string::npos);
  CHECK(yaml.find("sampler: shuffled") != std::string::npos);
  CHECK(yaml.find("eval_windows: random") != std::string::npos);
}

}  // namespace
}  // namespace ghost
