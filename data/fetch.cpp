#include "data/fetch.h"

#include <algorithm>
#include <optional>
#include <span>
#include <system_error>

#include "data/download.h"
#include "data/image_file.h"
#include "data/tar_file.h"
#include "data/token_shard.h"
#include "engine/core/error.h"
#include "engine/io/file.h"
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

struct IdxContent {
  std::string_view name;
  std::string_view sha256;  // unpacked
};

constexpr IdxContent kMnist[] = {
    {"train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"},
    {"train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"},
    {"t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"},
    {"t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"},
};
constexpr IdxContent kFashionMnist[] = {
    {"train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"},
    {"train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"},
    {"t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"},
    {"t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"},
};
const std::vector<std::string> kMnistUrls = {"https://ossci-datasets.s3.amazonaws.com/mnist/",
                                             "https://storage.googleapis.com/cvdf-datasets/mnist/",
                                             "http://yann.lecun.com/exdb/mnist/"};
const std::vector<std::string> kFashionMnistUrls = {
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"};
constexpr std::string_view kDebianFashionMnist[] = {"/usr/share/datasets/fashion-mnist",
                                                    "/usr/share/dataset-fashion-mnist"};

constexpr std::string_view kCifarUrl = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";
constexpr std::string_view kCifarArchive = "cifar10/cifar-10-binary.tar.gz";
constexpr std::string_view kCifarArchiveSha256 =
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd";
constexpr IdxContent kCifarBatches[] = {
    {"data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"},
    {"data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"},
    {"data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"},
    {"data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"},
    {"data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"},
    {"test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"},
};

std::vector<RemoteFile> idx_files(std::string_view set, std::span<const IdxContent> contents,
                                  const std::vector<std::string>& urls) {
  std::vector<RemoteFile> files;
  for (const IdxContent& content : contents) {
    const std::string name = fmt::format("{}.gz", content.name);
    RemoteFile& file = files.emplace_back(RemoteFile{.url = urls.front() + name,
                                                     .name = std::filesystem::path(set) / name,
                                                     .check = FileCheck::kUnpackedSha256,
                                                     .sha256 = std::string(content.sha256)});
    for (std::size_t i = 1; i < urls.size(); ++i) {
      file.mirrors.push_back(urls[i] + name);
    }
  }
  return files;
}

std::string sha256_unpacked(const std::filesystem::path& path) {
  const auto bytes = read_unpacked(path);
  return sha256_hex(std::as_bytes(std::span(bytes)));
}

std::optional<std::string> wrong_digest(const std::string& found, const std::string& expected) {
  return found == expected
             ? std::nullopt
             : std::optional(fmt::format("sha256 is {}, expected {}", found, expected));
}

/// The message of what `read` throws, without the path that it begins with.
template <typename Read>
std::optional<std::string> fault_of(const std::filesystem::path& path, Read&& read) {
  try {
    read();
    return std::nullopt;
  } catch (const Error& error) {
    const std::string text = error.what();
    const std::string prefix = path.string() + ": ";
    return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
  }
}

/// What is wrong with the file, or nothing.
std::optional<std::string> find_fault(const RemoteFile& file, const std::filesystem::path& path) {
  switch (file.check) {
    case FileCheck::kSha256:
      return wrong_digest(sha256_file(path), file.sha256);
    case FileCheck::kUnpackedSha256:
      return wrong_digest(sha256_unpacked(path), file.sha256);
    case FileCheck::kTokenShard:
      return fault_of(path, [&] { const TokenShard shard(path, ShardFormat::kLlmc); });
    case FileCheck::kCifar10:
      return fault_of(path, [&] {
        Images images;
        append_images(path, images);
      });
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

[[noreturn]] void fail_as_another(const RemoteFile& file, const std::string& source,
                                  const std::string& fault) {
  fail("{} from {} is not the expected file: {}", file.name.string(), source, fault);
}

/// Into `part`, checked.
void download_one(const RemoteFile& file, const std::string& url, const std::filesystem::path& part,
                  const FetchOptions& options) {
  const auto receive = [&] {
    download(url, part, [&](std::int64_t received, std::int64_t total) {
      if (options.progress) {
        options.progress(file.name.filename().string(), received, total);
      }
    });
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
    fail_as_another(file, url, *fault);
  }
}

void download_any(const RemoteFile& file, const std::filesystem::path& part,
                  const FetchOptions& options) {
  std::vector<std::string> urls = {file.url};
  urls.insert(urls.end(), file.mirrors.begin(), file.mirrors.end());
  for (std::size_t i = 0; i + 1 < urls.size(); ++i) {
    try {
      download_one(file, urls[i], part, options);
      return;
    } catch (const Error&) {  // the last one's failure is what is told
    }
  }
  download_one(file, urls.back(), part, options);
}

void copy_local(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code error;
  std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing, error);
  GHOST_CHECK(!error, "cannot copy {} to {}: {}", from.string(), to.string(), error.message());
}

}  // namespace

std::vector<std::string_view> fetchable_names() {
  return {"tinyshakespeare", "gpt2-bpe", "fineweb10B-gpt2", "mnist", "fashion_mnist", "cifar10"};
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
  if (name == "mnist") {
    return idx_files(name, kMnist, kMnistUrls);
  }
  if (name == "fashion_mnist") {
    return idx_files(name, kFashionMnist, kFashionMnistUrls);
  }
  if (name == "cifar10") {
    return {{.url = std::string(kCifarUrl),
             .name = kCifarArchive,
             .sha256 = std::string(kCifarArchiveSha256)}};
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
  if (options.from.empty()) {
    download_any(file, part, options);
  } else {
    const auto source = find_local_copy(file, options.from);
    copy_local(source, part);
    if (const auto fault = find_fault(file, part)) {
      std::filesystem::remove(part);
      fail_as_another(file, source.string(), *fault);
    }
  }
  std::filesystem::rename(part, target, error);
  GHOST_CHECK(!error, "cannot rename {}: {}", part.string(), error.message());
  return target;
}

namespace {

/// Where the distribution has put a set, or nowhere.
std::filesystem::path installed_copy(std::string_view name) {
  if (name == "fashion_mnist") {
    for (const std::string_view directory : kDebianFashionMnist) {
      if (std::filesystem::is_directory(directory)) {
        return directory;
      }
    }
  }
  return {};
}

/// The file as the directory has it, where that is without .gz.
RemoteFile as_found(RemoteFile file, const std::filesystem::path& from) {
  const auto packed = file.name.filename();
  if (packed.extension() == ".gz" && !std::filesystem::exists(from / packed) &&
      std::filesystem::exists(from / packed.stem())) {
    file.name.replace_extension();
  }
  return file;
}

std::vector<RemoteFile> cifar_batches() {
  std::vector<RemoteFile> files;
  for (const auto& [name, sha256] : kCifarBatches) {
    files.push_back({.url = std::string(kCifarUrl),
                     .name = std::filesystem::path("cifar10") / name,
                     .sha256 = std::string(sha256)});
  }
  return files;
}

/// Files of records that a directory has instead of the set's own.
std::vector<RemoteFile> other_cifar_files(const std::filesystem::path& from) {
  std::vector<RemoteFile> files;
  for (const auto& entry : std::filesystem::directory_iterator(from)) {
    const auto name = entry.path().filename();
    if (name.extension() == ".bin" || name.string().ends_with(".bin.gz")) {
      files.push_back({.url = {},
                       .name = std::filesystem::path("cifar10") / name,
                       .check = FileCheck::kCifar10});
    }
  }
  GHOST_CHECK(!files.empty(), "no {} and no .bin files in {}; --from names a local copy",
              std::filesystem::path(kCifarArchive).filename().string(), from.string());
  return files;
}

std::vector<std::filesystem::path> fetch_all(const std::vector<RemoteFile>& files,
                                             const FetchOptions& options) {
  std::vector<std::filesystem::path> paths;
  for (const RemoteFile& file : files) {
    paths.push_back(fetch_file(as_found(file, options.from), options));
  }
  return paths;
}

/// The batches, from the archive unless `options.from` has them unpacked.
std::vector<std::filesystem::path> fetch_cifar10(FetchOptions options) {
  const std::vector<RemoteFile> batches = cifar_batches();
  const auto is_there = [&](const RemoteFile& file) {
    return std::filesystem::exists(options.root / file.name);
  };
  if (std::all_of(batches.begin(), batches.end(), is_there)) {
    return fetch_all(batches, options);  // checks them
  }
  if (std::filesystem::is_directory(options.from)) {
    const auto unpacked = options.from / "cifar-10-batches-bin";
    for (const auto& directory : {options.from, unpacked}) {
      if (std::filesystem::exists(directory / batches.front().name.filename())) {
        options.from = directory;
        return fetch_all(batches, options);
      }
    }
    if (!std::filesystem::exists(options.from / std::filesystem::path(kCifarArchive).filename())) {
      return fetch_all(other_cifar_files(options.from), options);
    }
  }
  const auto archive = fetch_file(catalogue("cifar10", 1).front(), options);
  std::vector<std::string> names;
  for (const RemoteFile& file : batches) {
    names.push_back(file.name.filename().string());
  }
  extract_from_tar(archive, names, archive.parent_path());
  const auto paths = fetch_all(batches, options);
  std::filesystem::remove(archive);
  return paths;
}

}  // namespace

std::vector<std::filesystem::path> fetch(std::string_view name, const FetchOptions& options) {
  const auto files = catalogue(name, options.num_shards);
  const bool is_one_for_many =
      files.size() > 1 && !options.from.empty() && !std::filesystem::is_directory(options.from);
  GHOST_CHECK(!is_one_for_many, "{} is {} files; --from {} is no directory", name, files.size(),
              options.from.string());
  if (name == "cifar10") {
    return fetch_cifar10(options);
  }
  FetchOptions sources = options;
  if (sources.from.empty()) {
    sources.from = installed_copy(name);
  }
  return fetch_all(files, sources);
}

}  // namespace ghost
