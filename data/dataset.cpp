#include "data/dataset.h"

#include <algorithm>
#include <glob.h>

#include "engine/core/error.h"

namespace ghost {
namespace {

constexpr std::int64_t kScannedTokens = std::int64_t{64} << 20;

/// What glob(3) found, freed at the end.
struct GlobResult {
  GlobResult() = default;
  GlobResult(const GlobResult&) = delete;
  GlobResult& operator=(const GlobResult&) = delete;
  ~GlobResult() { ::globfree(&result); }
  ::glob_t result{};
};

}  // namespace

std::vector<std::filesystem::path> match_files(const std::filesystem::path& root,
                                               std::string_view pattern) {
  std::vector<std::filesystem::path> files;
  while (true) {
    const std::size_t comma = pattern.find(',');
    const auto part = root / pattern.substr(0, comma);
    GlobResult found;
    const int code = ::glob(part.c_str(), 0, nullptr, &found.result);
    GHOST_CHECK(code == 0 && found.result.gl_pathc > 0,
                "no data file matches {}; `ghostgrad data` fetches and prepares data",
                part.string());
    for (std::size_t i = 0; i < found.result.gl_pathc; ++i) {
      files.emplace_back(found.result.gl_pathv[i]);
    }
    if (comma == std::string_view::npos) {
      return files;
    }
    pattern.remove_prefix(comma + 1);
  }
}

TokenDataset::TokenDataset(const std::vector<std::filesystem::path>& files, Options options)
    : options_(options) {
  GHOST_CHECK(!files.empty(), "dataset of no files; expected at least one shard");
  std::int64_t end = 0;
  for (const std::filesystem::path& file : files) {
    shards_.emplace_back(file, options.format);
    end += shards_.back().num_tokens();
    ends_.push_back(end);
  }
  if (options.vocab_size > 0 && end <= kScannedTokens) {
    check_vocab();
  }
}

void TokenDataset::check_vocab() const {
  for (const TokenShard& shard : shards_) {
    if (shard.max_token() < options_.vocab_size) {
      continue;
    }
    // A read of the whole shard throws, and says where.
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(shard.num_tokens()));
    shard.read(0, tokens, options_.vocab_size);
  }
}

std::vector<std::int64_t> TokenDataset::shard_tokens() const {
  std::vector<std::int64_t> counts;
  for (const TokenShard& shard : shards_) {
    counts.push_back(shard.num_tokens());
  }
  return counts;
}

std::string TokenDataset::name() const {
  const std::string first = shards_.front().path().string();
  return shards_.size() == 1 ? first : fmt::format("{} and {} more", first, shards_.size() - 1);
}

void TokenDataset::read(std::int64_t begin, std::span<std::int32_t> tokens) const {
  const auto count = static_cast<std::int64_t>(tokens.size());
  GHOST_CHECK(begin >= 0 && begin + count <= num_tokens(),
              "{}: tokens {} to {} asked for; the stream has {}", name(), begin, begin + count,
              num_tokens());
  auto shard =
      static_cast<std::size_t>(std::upper_bound(ends_.begin(), ends_.end(), begin) - ends_.begin());
  while (!tokens.empty()) {
    const std::int64_t shard_begin = ends_[shard] - shards_[shard].num_tokens();
    const auto available = static_cast<std::size_t>(ends_[shard] - begin);
    const auto part = tokens.first(std::min(tokens.size(), available));
    shards_[shard].read(begin - shard_begin, part, options_.vocab_size);
    begin += static_cast<std::int64_t>(part.size());
    tokens = tokens.subspan(part.size());
    ++shard;
  }
}

}  // namespace ghost
