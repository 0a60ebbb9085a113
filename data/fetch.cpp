#include "data/fetch.h"

#include <optional>
#include <system_error>

#include "data/download.h"
#include "data/token_shard.h"
#include "engine/core/error.h"
#include "engine/io/sha256.h"

namespace ghost {
namespace {

constexpr std::int64_t kFinewebShards = 103;
constexpr std::string_view kGpt2Url =
    "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/";
constexpr std::string_view kFinewebUrl =
    "https://huggingface.co/datasets/kjj0/fineweb10B-gpt2/resolve/main/";

RemoteFile fineweb_shard(std::string_view split, std::int64_t number) {
  const std::string file = fmt::format("fineweb_{}_{:06}.bin", split, number);
  return {.url = std::string(kFinewebUrl) + file,
          .name = std::filesystem::path("fineweb10B") / file,
          .check = FileCheck::kTokenShard};
}

/// What is wrong with the file, or nothing.
std::optional<std::string> find_fault(const RemoteFile& file, const std::filesystem::path& path) {
  switch (file.check) {
    case FileCheck::kSha256: {
      const std::string found = sha256_file(path);
      if (found == file.sha256) {
        return std::nullopt;
      }
      return fmt::format("sha256 is {}, expected {}", found, file.sha256);
    }
    case FileCheck::kTokenShard:
      try {
        const TokenShard shard(path, ShardFormat::kLlmc);
        return std::nullopt;
      } catch (const Error& error) {
        const std::string text = error.what();
        const std::string prefix = path.string() + ": ";
        return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
      }
  }
  return "unknown check";
}

std::filesystem::path find_local_copy(const RemoteFile& file, const std::filesystem::path& from) {
  if (!std::filesystem::is_directory(from)) {
    GHOST_CHECK(std::filesystem::is_regular_file(from), "no file at {}; --from names a local copy",
                from.string());
    return from;
  }
  const auto remote_name = std::filesystem::path(file.url).filename();
  for (const auto& name : {file.name, file.name.filename(), remote_name}) {
    if (std::filesystem::is_regular_file(from / name)) {
      return from / name;
    }
  }
  fail("no {} in {}; --from names a local copy", file.name.filename().string(), from.string());
}

void copy_local(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing, error);
  GHOST_CHECK(!error, "cannot copy {} to {}: {}", from.string(), to.string(), error.message());
}

}  // namespace

std::vector<std::string_view> fetchable_names() {
  return {"tinyshakespeare", "gpt2-bpe", "fineweb10B-gpt2"};
}

std::vector<RemoteFile> catalogue(std::string_view name, std::int64_t num_shards) {
  if (name == "tinyshakespeare") {
    return {{.url = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/"
                    "tinyshakespeare/input.txt",
             .name = "tinyshakespeare.txt",
             .sha256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"}};
  }
  if (name == "gpt2-bpe") {
    return {{.url = std::string(kGpt2Url) + "vocab.bpe",
             .name = "gpt2/vocab.bpe",
             .sha256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"},
            {.url = std::string(kGpt2Url) + "encoder.json",
             .name = "gpt2/encoder.json",
             .sha256 = "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"}};
  }
  if (name == "fineweb10B-gpt2") {
    if (num_shards < 1 || num_shards > kFinewebShards) {
      fail<ConfigError>("{} shards of {} asked for; expected 1 to {}", num_shards, name,
                        kFinewebShards);
    }
    std::vector<RemoteFile> files = {fineweb_shard("val", 0)};
    for (std::int64_t number = 1; number <= num_shards; ++number) {
      files.push_back(fineweb_shard("train", number));
    }
    return files;
  }
  fail<ConfigError>("nothing to fetch by the name {}; known are {}", name,
                    fmt::join(fetchable_names(), ", "));
}

std::filesystem::path fetch_file(const RemoteFile& file, const FetchOptions& options) {
  const auto target = options.root / file.name;
  if (std::filesystem::exists(target)) {
    const auto fault = find_fault(file, target);
    GHOST_CHECK(!fault, "{} is there and is another file ({}); move it away to fetch it again",
                target.string(), *fault);
    return target;
  }
  std::error_code error;
  std::filesystem::create_directories(target.parent_path(), error);
  GHOST_CHECK(!error, "cannot create {}: {}", target.parent_path().string(), error.message());
  auto part = target;
  part += ".part";
  const std::string source =
      options.from.empty() ? file.url : find_local_copy(file, options.from).string();
  const auto receive = [&] {
    if (options.from.empty()) {
      download(source, part, [&](std::int64_t received, std::int64_t total) {
        if (options.progress) {
          options.progress(file.name.filename().string(), received, total);
        }
      });
    } else {
      copy_local(source, part);
    }
    return find_fault(file, part);
  };
  const bool is_resumed = std::filesystem::exists(part);
  auto fault = receive();
  if (fault && is_resumed) {  // the old part was of another file, or damaged
    std::filesystem::remove(part);
    fault = receive();
  }
  if (fault) {
    std::filesystem::remove(part);
    fail("{} from {} is not the expected file: {}", file.name.string(), source, *fault);
  }
  std::filesystem::rename(part, target, error);
  GHOST_CHECK(!error, "cannot rename {}: {}", part.string(), error.message());
  return target;
}

std::vector<std::filesystem::path> fetch(std::string_view name, const FetchOptions& options) {
  const auto files = catalogue(name, options.num_shards);
  const bool is_one_for_many =
      files.size() > 1 && !options.from.empty() && !std::filesystem::is_directory(options.from);
  GHOST_CHECK(!is_one_for_many, "{} is {} files; --from {} is no directory", name, files.size(),
              options.from.string());
  std::vector<std::filesystem::path> paths;
  for (const RemoteFile& file : files) {
    paths.push_back(fetch_file(file, options));
  }
  return paths;
}

}  // namespace ghost
