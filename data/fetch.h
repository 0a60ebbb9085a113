#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace ghost {

/// How a fetched file is known to be the right one.
enum class FileCheck {
  kSha256,      // of the whole file
  kTokenShard,  // an llm.c shard whose size agrees with its header, where no sha256 is published
  kUnpackedSha256,  // of the content, whatever gzip made of it
  kCifar10,         // whole records, where the file is a part of a known set
};

/// One file of the catalogue.
struct RemoteFile {
  std::string url;
  std::filesystem::path name;  // below the data root
  FileCheck check = FileCheck::kSha256;
  std::string sha256 = {};
  std::vector<std::string> mirrors = {};  // tried in order after `url`
};

struct FetchOptions {
  std::filesystem::path root = "datasets";
  std::filesystem::path from = {};  // a local copy: the file itself, or a directory that holds it
  std::int64_t num_shards = 10;     // of a sharded training set, besides its validation shard

  /// File name, bytes so far, bytes in all (0 while unknown).
  std::function<void(std::string_view, std::int64_t, std::int64_t)> progress = {};
};

/// The names that `fetch` knows: tinyshakespeare, gpt2-bpe, fineweb10B-gpt2, mnist, fashion_mnist,
/// cifar10.
std::vector<std::string_view> fetchable_names();

/// The files of a name. Throws ghost::ConfigError on an unknown name or a number of shards outside
/// of 1 to 103.
std::vector<RemoteFile> catalogue(std::string_view name, std::int64_t num_shards);

/// Makes `file` be there below `options.root` and returns its path: nothing is done when it is,
/// else it is copied from `options.from` or downloaded, by way of `NAME.part`, which a later call
/// continues; it gets its name once it has passed its check. Mirrors are tried one after another.
/// Throws ghost::Error: none reached, not found, wrong sha256, not a shard, disk.
std::filesystem::path fetch_file(const RemoteFile& file, const FetchOptions& options);

/// `fetch_file` for each file of a name. fashion_mnist is copied from Debian's package
/// dataset-fashion-mnist where that is installed; the archive of cifar10 is unpacked and removed.
/// `--from DIR` may also hold the files of an image set in another form: IDX without .gz, the
/// unpacked batches of CIFAR-10, or other files of CIFAR-10 records, which keep their names.
std::vector<std::filesystem::path> fetch(std::string_view name, const FetchOptions& options);

}  // namespace ghost
