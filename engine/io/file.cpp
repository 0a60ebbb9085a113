#include "engine/io/file.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <utility>

#include "engine/core/error.h"

namespace ghost {
namespace {

std::string errno_text(int error) { return std::generic_category().message(error); }

[[noreturn]] void fail_errno(std::string_view verb, const std::filesystem::path& path) {
  const int error = errno;
  fail("cannot {} {}: {}", verb, path.string(), errno_text(error));
}

FileDescriptor open_for_reading(const std::filesystem::path& path) {
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) {
    fail_errno("read", path);
  }
  return fd;
}

struct stat status_of(const FileDescriptor& fd, const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    fail_errno("read", path);
  }
  return status;
}

// False, with errno set, on the first failed write.
bool write_all(const FileDescriptor& fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd.get(), bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) {
      return false;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(std::max<ssize_t>(written, 0)));
  }
  return true;
}

}  // namespace

void sync_directory(const std::filesystem::path& path) {
  const std::filesystem::path directory = path.empty() ? "." : path;
  const FileDescriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // EINVAL: a file system that cannot sync directories keeps renames in order by itself.
  if (!fd.is_open() || (::fsync(fd.get()) != 0 && errno != EINVAL)) {
    fail_errno("sync directory", directory);
  }
}

std::string read_file(const std::filesystem::path& path) {
  const FileDescriptor fd = open_for_reading(path);
  std::string text(static_cast<std::size_t>(std::max<off_t>(status_of(fd, path).st_size, 0)), '\0');
  std::size_t size = 0;
  while (true) {
    if (size == text.size()) {
      text.resize(size + 4096);  // pipes and /proc files report a size of 0
    }
    const ssize_t got = ::read(fd.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno != EINTR) {
      fail_errno("read", path);
    }
    if (got == 0) {
      break;
    }
    size += static_cast<std::size_t>(std::max<ssize_t>(got, 0));
  }
  text.resize(size);
  return text;
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  for (int attempt = 0; !fd_.is_open(); ++attempt) {
    temporary_ = path_;
    temporary_ += fmt::format(".tmp-{}-{}", ::getpid(), attempt);
    fd_ = FileDescriptor(
        ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode_t{0666}));
    if (!fd_.is_open() && errno != EEXIST) {
      fail_errno("write", path_);
    }
  }
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) {
    ::unlink(temporary_.c_str());
  }
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (!write_all(fd_, bytes)) {
    fail_errno("write", path_);
  }
}

void AtomicFile::commit() {
  if (::fsync(fd_.get()) != 0 || !fd_.close() || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail_errno("write", path_);
  }
  temporary_.clear();
  sync_directory(path_.parent_path());
}

void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  write_file_atomically(path, as_bytes(text));
}

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const FileDescriptor fd = open_for_reading(path);
  const struct stat status = status_of(fd, path);
  GHOST_CHECK(S_ISREG(status.st_mode), "cannot map {}: it is not a regular file", path.string());
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) {
    return;
  }
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) {
    fail_errno("map", path);
  }
  bytes_ = {static_cast<const std::byte*>(address), size};
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
}

AppendFile::AppendFile(std::filesystem::path path)
    : path_(std::move(path)),
      fd_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, mode_t{0666})) {
  if (!fd_.is_open()) {
    fail_errno("append to", path_);
  }
}

void AppendFile::append_line(std::string_view line) {
  GHOST_CHECK(line.find('\n') == std::string_view::npos,
              "cannot append to {}: the line contains a newline", path_.string());
  const std::int64_t before = size();
  std::string text;
  text.reserve(line.size() + 1);
  text.append(line).push_back('\n');
  if (!write_all(fd_, as_bytes(text))) {
    const int error = errno;
    // Best effort: the reason reported is that of the write.
    static_cast<void>(!::ftruncate(fd_.get(), before));
    errno = error;
    fail_errno("append to", path_);
  }
}

std::int64_t AppendFile::size() const { return status_of(fd_, path_).st_size; }

void AppendFile::truncate(std::int64_t bytes) {
  const std::int64_t now = size();
  GHOST_CHECK(bytes >= 0 && bytes <= now, "cannot cut {} to {} bytes; expected 0 to {}, its size",
              path_.string(), bytes, now);
  if (::ftruncate(fd_.get(), bytes) != 0) {
    fail_errno("truncate", path_);
  }
}

}  // namespace ghost
