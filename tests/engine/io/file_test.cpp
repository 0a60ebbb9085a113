#include "engine/io/file.h"

#include <csignal>
#include <sys/resource.h>

#include "engine/core/error.h"
#include "tests/support/catch.h"
#include "tests/support/temporary_directory.h"

namespace ghost {
namespace {

using test::TemporaryDirectory;

std::int64_t num_files(const TemporaryDirectory& directory) {
  return std::distance(std::filesystem::directory_iterator(directory.path()), {});
}

// Writes past `bytes` fail with EFBIG, as those on a full disk fail with ENOSPC.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limited{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limited);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_{};
};

template <class Action>
std::string message_of(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST_CASE("read_file returns every byte", "[io]") {
  const TemporaryDirectory directory;
  const std::string text("a\0b\r\n", 5);
  CHECK(read_file(directory.write("file", text)) == text);
  CHECK(read_file(directory.write("empty", "")).empty());
  CHECK(read_file("/proc/self/stat").size() > 10);  // a file that reports a size of 0
}

TEST_CASE("read_file names the path and the reason", "[io]") {
  const TemporaryDirectory directory;
  CHECK_THROWS_WITH(read_file(directory / "none"),
                    "cannot read " + (directory / "none").string() + ": No such file or directory");
  CHECK_THROWS_WITH(read_file(directory.path()),
                    "cannot read " + directory.path().string() + ": Is a directory");
}

TEST_CASE("an atomic write replaces the file and leaves no other", "[io]") {
  const TemporaryDirectory directory;
  const auto path = directory.write("file", "old and longer");
  write_file_atomically(path, "new");
  CHECK(read_file(path) == "new");
  CHECK(num_files(directory) == 1);
}

TEST_CASE("an atomic write to a bare name goes to the working directory", "[io]") {
  const TemporaryDirectory directory;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(directory.path());
  write_file_atomically("file", "text");
  std::filesystem::current_path(before);
  CHECK(read_file(directory / "file") == "text");
}

TEST_CASE("an atomic file without commit leaves the old one", "[io]") {
  const TemporaryDirectory directory;
  const auto path = directory.write("file", "old");
  {
    AtomicFile file(path);
    file.write(as_bytes("half of the ne"));
    CHECK(num_files(directory) == 2);
  }
  CHECK(read_file(path) == "old");
  CHECK(num_files(directory) == 1);
}

TEST_CASE("a temporary file left by a killed process is no obstacle", "[io]") {
  const TemporaryDirectory directory;
  directory.write("file.tmp-" + std::to_string(::getpid()) + "-0", "left over");
  write_file_atomically(directory / "file", "new");
  CHECK(read_file(directory / "file") == "new");
}

TEST_CASE("an atomic write that does not fit leaves the old file", "[io]") {
  const TemporaryDirectory directory;
  const auto path = directory.write("file", "old");
  const std::string message = [&] {
    const FileSizeLimit limit(4096);
    return message_of([&] { write_file_atomically(path, std::string(10000, 'x')); });
  }();
  CHECK(message == "cannot write " + path.string() + ": File too large");
  CHECK(read_file(path) == "old");
  CHECK(num_files(directory) == 1);
}

TEST_CASE("an atomic write names the path and the reason", "[io]") {
  const TemporaryDirectory directory;
  const auto lost = directory / "none/file";
  CHECK_THROWS_WITH(write_file_atomically(lost, "text"),
                    "cannot write " + lost.string() + ": No such file or directory");
  directory.write("folder/file", "");
  CHECK_THROWS_WITH(write_file_atomically(directory / "folder", "text"),
                    "cannot write " + (directory / "folder").string() + ": Is a directory");
  CHECK(num_files(directory) == 1);
}

TEST_CASE("a mapped file shows the bytes and moves", "[io]") {
  const TemporaryDirectory directory;
  MappedFile file(directory.write("file", "abc"));
  MappedFile moved(std::move(file));
  CHECK(moved.size() == 3);
  CHECK(moved.bytes()[2] == std::byte{'c'});
  MappedFile empty(directory.write("empty", ""));
  CHECK(empty.bytes().empty());
  empty = std::move(moved);
  CHECK(empty.bytes()[0] == std::byte{'a'});
  CHECK(empty.path() == directory / "file");
}

TEST_CASE("a mapped file names the path and the reason", "[io]") {
  const TemporaryDirectory directory;
  CHECK_THROWS_WITH(MappedFile(directory / "none"),
                    "cannot read " + (directory / "none").string() + ": No such file or directory");
  CHECK_THROWS_WITH(MappedFile(directory.path()),
                    "cannot map " + directory.path().string() + ": it is not a regular file");
}

TEST_CASE("an append file goes on where a checkpoint stands", "[io]") {
  const TemporaryDirectory directory;
  const auto path = directory / "metrics.jsonl";
  {
    AppendFile file(path);
    file.append_line(R"({"step":1})");
    CHECK(file.size() == 11);
    file.append_line(R"({"step":2})");
    CHECK(read_file(path) == "{\"step\":1}\n{\"step\":2}\n");  // without closing
  }
  AppendFile resumed(path);
  resumed.truncate(11);
  resumed.append_line("x");
  CHECK(read_file(path) == "{\"step\":1}\nx\n");
}

TEST_CASE("an append file holds whole lines after a failed write", "[io]") {
  const TemporaryDirectory directory;
  const auto path = directory / "metrics.jsonl";
  AppendFile file(path);
  file.append_line("first");
  const std::string message = [&] {
    const FileSizeLimit limit(4096);
    return message_of([&] { file.append_line(std::string(10000, 'x')); });
  }();
  CHECK(message == "cannot append to " + path.string() + ": File too large");
  CHECK(read_file(path) == "first\n");
}

TEST_CASE("an append file names the path and the reason", "[io]") {
  const TemporaryDirectory directory;
  const auto lost = directory / "none/file";
  CHECK_THROWS_WITH(AppendFile(lost),
                    "cannot append to " + lost.string() + ": No such file or directory");
  const auto path = directory / "metrics.jsonl";
  AppendFile file(path);
  CHECK_THROWS_WITH(file.append_line("a\nb"),
                    "cannot append to " + path.string() + ": the line contains a newline");
  CHECK_THROWS_WITH(file.truncate(1),
                    "cannot cut " + path.string() + " to 1 bytes; expected 0 to 0, its size");
}

}  // namespace
}  // namespace ghost
