#include "data/fetch.h"

#include <set>

#include "data/download.h"
#include "data/image_file.h"
#include "data/token_shard.h"
#include "engine/core/error.h"
#include "engine/io/file.h"
#include "engine/io/sha256.h"
#include "tests/data/file_server.h"
#include "tests/data/test_files.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

using Catch::Matchers::StartsWith;

const std::string kContent(100'000, 'x');

RemoteFile remote(const std::string& url, const std::string& content) {
  return {.url = url, .name = "sub/file.txt", .sha256 = sha256_hex(as_bytes(content))};
}

TEST_CASE("a file is downloaded, checked and kept", "[data]") {
  const TestDir dir;
  FileServer server(kContent, FileServer::Ranges::kHonoured);
  std::int64_t received = 0;
  const FetchOptions options = {
      .root = dir.path(), .progress = [&](std::string_view name, std::int64_t bytes, std::int64_t) {
        CHECK(name == "file.txt");
        received = bytes;
      }};
  const auto path = fetch_file(remote(server.url(), kContent), options);
  CHECK(path == dir / "sub/file.txt");
  CHECK(read_text(path) == kContent);
  CHECK(received == 100'000);
  CHECK_FALSE(std::filesystem::exists(dir / "sub/file.txt.part"));
  fetch_file(remote(server.url(), kContent), options);
  server.stop();
  CHECK(server.requests().size() == 1);
}

TEST_CASE("a broken download goes on where it stopped", "[data]") {
  const TestDir dir;
  {
    const FileServer server(kContent, FileServer::Ranges::kHonoured, /*cut_after=*/60'000);
    CHECK_THROWS_WITH(fetch_file(remote(server.url(), kContent), {.root = dir.path()}),
                      StartsWith("cannot fetch " + server.url() + ": "));
    CHECK(std::filesystem::file_size(dir / "sub/file.txt.part") == 60'000);
    CHECK_FALSE(std::filesystem::exists(dir / "sub/file.txt"));
  }
  FileServer server(kContent, FileServer::Ranges::kHonoured);
  CHECK(read_text(fetch_file(remote(server.url(), kContent), {.root = dir.path()})) == kContent);
  server.stop();
  REQUIRE(server.requests().size() == 1);
  CHECK(server.requests()[0].find("Range: bytes=60000-") != std::string::npos);
}

TEST_CASE("a server without ranges sends the file again", "[data]") {
  const TestDir dir;
  const FileServer server(kContent, FileServer::Ranges::kIgnored);
  dir.write("sub/file.txt.part", kContent.substr(0, 5000));
  CHECK(read_text(fetch_file(remote(server.url(), kContent), {.root = dir.path()})) == kContent);
}

TEST_CASE("a part that is complete or of another file is fetched again", "[data]") {
  const FileServer server(kContent, FileServer::Ranges::kHonoured);
  for (const std::string& part : {kContent, std::string(5000, 'y')}) {
    const TestDir dir;
    dir.write("sub/file.txt.part", part);
    CHECK(read_text(fetch_file(remote(server.url(), kContent), {.root = dir.path()})) == kContent);
  }
}

TEST_CASE("file URLs are fetched and resumed", "[data]") {
  const TestDir dir;
  const auto source = dir.write("source.txt", "0123456789");
  dir.write("x.part", "0123");
  download("file://" + source.string(), dir / "x.part");
  CHECK(read_text(dir / "x.part") == "0123456789");
}

TEST_CASE("a host that is not reached is named in one line", "[data]") {
  const TestDir dir;
  ::setenv("no_proxy", "127.0.0.1", 1);
  try {
    fetch_file(remote("http://127.0.0.1:1/file", kContent), {.root = dir.path()});
    FAIL("port 1 answered");
  } catch (const Error& error) {
    const std::string message = error.what();
    CHECK_THAT(message, StartsWith("cannot reach 127.0.0.1:1: "));
    CHECK(message.ends_with("; pass --from PATH to use a local copy"));
    CHECK(message.find('\n') == std::string::npos);
  }
}

TEST_CASE("a refused request names its status", "[data]") {
  const TestDir dir;
  const FileServer server(kContent, FileServer::Ranges::kHonoured);
  CHECK_THROWS_WITH(fetch_file(remote(server.url("/gone"), kContent), {.root = dir.path()}),
                    "cannot fetch " + server.url("/gone") + ": HTTP status 404");
}

TEST_CASE("a file with the wrong sha256 is not kept", "[data]") {
  const TestDir dir;
  const FileServer server("other", FileServer::Ranges::kHonoured);
  CHECK_THROWS_WITH(
      fetch_file(remote(server.url(), kContent), {.root = dir.path()}),
      fmt::format("sub/file.txt from {} is not the expected file: sha256 is {}, expected {}",
                  server.url(), sha256_hex(as_bytes("other")), sha256_hex(as_bytes(kContent))));
  CHECK(std::filesystem::is_empty(dir / "sub"));
}

TEST_CASE("a file of the same name and other content is left alone", "[data]") {
  const TestDir dir;
  dir.write("sub/file.txt", "mine");
  CHECK_THROWS_WITH(
      fetch_file(remote("http://127.0.0.1:1/file", kContent), {.root = dir.path()}),
      fmt::format("{} is there and is another file (sha256 is {}, expected {}); move it away to "
                  "fetch it again",
                  (dir / "sub/file.txt").string(), sha256_hex(as_bytes("mine")),
                  sha256_hex(as_bytes(kContent))));
  CHECK(read_text(dir / "sub/file.txt") == "mine");
}

TEST_CASE("a local copy takes the place of a download", "[data]") {
  const TestDir dir;
  const RemoteFile file = remote("http://127.0.0.1:1/raw.txt", kContent);
  const auto check = [&](const std::filesystem::path& from, const std::string& root) {
    CHECK(read_text(fetch_file(file, {.root = dir / root, .from = from})) == kContent);
  };
  check(dir.write("any name %20.txt", kContent), "a");
  dir.write("mirror1/sub/file.txt", kContent);
  check(dir / "mirror1", "b");
  dir.write("mirror2/file.txt", kContent);
  check(dir / "mirror2", "c");
  dir.write("mirror3/raw.txt", kContent);
  check(dir / "mirror3", "d");
  CHECK_THROWS_WITH(fetch_file(file, {.root = dir / "e", .from = dir / "none"}),
                    "no file at " + (dir / "none").string() + "; --from names a local copy");
  std::filesystem::create_directory(dir / "empty");
  CHECK_THROWS_WITH(fetch_file(file, {.root = dir / "e", .from = dir / "empty"}),
                    "no file.txt in " + (dir / "empty").string() + "; --from names a local copy");
}

TEST_CASE("shards are checked by their header", "[data]") {
  const TestDir dir;
  std::filesystem::create_directory(dir / "mirror");
  const std::vector<std::int32_t> tokens = {1, 2, 3};
  for (const char* name : {"fineweb_val_000000.bin", "fineweb_train_000001.bin"}) {
    write_token_shard(dir / "mirror" / name, tokens, 50257);
  }
  const auto files =
      fetch("fineweb10B-gpt2", {.root = dir / "data", .from = dir / "mirror", .num_shards = 1});
  REQUIRE(files.size() == 2);
  CHECK(TokenShard(dir / "data/fineweb10B/fineweb_val_000000.bin").num_tokens() == 3);
  const std::string cut = read_text(dir / "mirror/fineweb_val_000000.bin").substr(0, 1029);
  const auto path = dir.write("mirror/fineweb_val_000000.bin", cut);
  CHECK_THROWS_WITH(
      fetch("fineweb10B-gpt2", {.root = dir / "new", .from = dir / "mirror", .num_shards = 1}),
      "fineweb10B/fineweb_val_000000.bin from " + path.string() +
          " is not the expected file: truncated token shard: expected 1030 bytes for 3 tokens, "
          "found 1029");
  CHECK_THROWS_WITH(fetch("fineweb10B-gpt2", {.root = dir / "new", .from = path}),
                    "fineweb10B-gpt2 is 11 files; --from " + path.string() + " is no directory");
}

TEST_CASE("mirrors are tried one after another", "[data]") {
  const TestDir dir;
  FileServer wrong("other", FileServer::Ranges::kHonoured);
  FileServer server(kContent, FileServer::Ranges::kHonoured);
  RemoteFile file = remote("http://127.0.0.1:1/file", kContent);
  file.mirrors = {wrong.url(), server.url()};
  CHECK(read_text(fetch_file(file, {.root = dir.path()})) == kContent);
  file.mirrors = {wrong.url()};
  file.name = "again.txt";
  CHECK_THROWS_WITH(fetch_file(file, {.root = dir.path()}),
                    StartsWith("again.txt from " + wrong.url() + " is not the expected file: "));
}

TEST_CASE("the catalogue holds what it promises", "[data]") {
  std::set<std::string> urls;
  for (const auto name : fetchable_names()) {
    for (const RemoteFile& file : catalogue(name, 103)) {
      CHECK_THAT(file.url, StartsWith("https://"));
      CHECK(urls.insert(file.url).second);
      CHECK((file.check == FileCheck::kTokenShard || file.sha256.size() == 64));
    }
  }
  CHECK(urls.size() == 1 + 2 + 104 + 4 + 4 + 1);
  CHECK(catalogue("fineweb10B-gpt2", 103).back().url ==
        "https://huggingface.co/datasets/kjj0/fineweb10B-gpt2/resolve/main/"
        "fineweb_train_000103.bin");
  CHECK_THROWS_AS(catalogue("pile", 1), ConfigError);
  CHECK_THROWS_WITH(catalogue("pile", 1),
                    "nothing to fetch by the name pile; known are tinyshakespeare, gpt2-bpe, "
                    "fineweb10B-gpt2, mnist, fashion_mnist, cifar10");
  CHECK_THROWS_WITH(catalogue("fineweb10B-gpt2", 104),
                    "104 shards of fineweb10B-gpt2 asked for; expected 1 to 103");
}

TEST_CASE("image sets are fetched from files at hand", "[data]") {
  const auto mnist = shared_data("mnist");
  const auto cifar = shared_data("cifar10");
  if (!mnist || !cifar) {
    return;
  }
  const TestDir dir;
  CHECK(fetch("mnist", {.root = dir.path(), .from = *mnist}).size() == 4);
  CHECK(std::filesystem::exists(dir / "mnist/t10k-labels-idx1-ubyte.gz"));
  // A part of CIFAR-10 keeps its own names.
  CHECK(fetch("cifar10", {.root = dir.path(), .from = *cifar}).size() == 2);
  CHECK(std::filesystem::exists(dir / "cifar10/cifar10_train_10000.bin.gz"));
  // Unpacked files do as well, under their names.
  std::filesystem::create_directory(dir / "plain");
  for (const auto& entry : std::filesystem::directory_iterator(*mnist)) {
    const auto bytes = read_unpacked(entry.path());
    dir.write("plain/" + entry.path().stem().string(), std::string(bytes.begin(), bytes.end()));
  }
  fetch("mnist", {.root = dir / "second", .from = dir / "plain"});
  CHECK(std::filesystem::exists(dir / "second/mnist/train-images-idx3-ubyte"));
  CHECK_THROWS_WITH(fetch("fashion_mnist", {.root = dir / "third", .from = *mnist}),
                    StartsWith("fashion_mnist/train-images-idx3-ubyte.gz from "));
}

TEST_CASE("a directory without any of CIFAR-10 is refused", "[data]") {
  const TestDir dir;
  std::filesystem::create_directory(dir / "empty");
  CHECK_THROWS_WITH(fetch("cifar10", {.root = dir.path(), .from = dir / "empty"}),
                    "no cifar-10-binary.tar.gz and no .bin files in " + (dir / "empty").string() +
                        "; --from names a local copy");
}

TEST_CASE("real files fetched from a mirror have their published sha256", "[data]") {
  const auto bpe = shared_data("gpt2");
  const auto text = shared_data("text");
  if (!bpe || !text) {
    return;
  }
  const TestDir dir;
  CHECK(fetch("gpt2-bpe", {.root = dir.path(), .from = *bpe}).size() == 2);
  CHECK(fetch("tinyshakespeare", {.root = dir.path(), .from = *text}).front() ==
        dir / "tinyshakespeare.txt");
}

}  // namespace
}  // namespace ghost
