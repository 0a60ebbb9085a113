#include "data/download.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

#include <curl/curl.h>

#include "engine/core/error.h"
#include "engine/io/file_descriptor.h"

namespace ghost {
namespace {

/// State that libcurl's callbacks see.
struct Transfer {
  FileDescriptor file;
  std::int64_t held = 0;  // bytes in the part before this transfer
  int write_error = 0;    // errno
  const DownloadProgress* progress = nullptr;
};

std::size_t write_part(const char* data, std::size_t /*one*/, std::size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  std::size_t written = 0;
  while (written < size) {
    const ::ssize_t count = ::write(transfer.file.get(), data + written, size - written);
    if (count < 0 && errno != EINTR) {
      transfer.write_error = errno;
      break;
    }
    written += static_cast<std::size_t>(count > 0 ? count : 0);
  }
  return written;
}

int report_progress(void* user, curl_off_t total, curl_off_t received, curl_off_t, curl_off_t) {
  const auto& transfer = *static_cast<Transfer*>(user);
  if (*transfer.progress) {
    (*transfer.progress)(transfer.held + received, total > 0 ? transfer.held + total : 0);
  }
  return 0;
}

bool is_unreachable(CURLcode code) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
      return true;
    default:
      return false;
  }
}

std::string host_of(const std::string& url) {
  const std::size_t scheme = url.find("://");
  const std::size_t begin = scheme == std::string::npos ? 0 : scheme + 3;
  return url.substr(begin, url.find('/', begin) - begin);
}

struct Outcome {
  CURLcode code = CURLE_OK;
  long status = 0;  // HTTP; 0 for file URLs
  std::string text;
};

Outcome transfer_once(const std::string& url, Transfer& transfer) {
  static const CURLcode kStarted = curl_global_init(CURL_GLOBAL_DEFAULT);
  GHOST_CHECK(kStarted == CURLE_OK, "libcurl: {}", curl_easy_strerror(kStarted));
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                                 &curl_easy_cleanup);
  GHOST_CHECK(curl != nullptr, "libcurl: cannot start a transfer");
  char text[CURL_ERROR_SIZE] = {};
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, text);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &write_part);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, &report_progress);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, &transfer);
  curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl.get(), CURLOPT_RESUME_FROM_LARGE, curl_off_t{transfer.held});
  curl_easy_setopt(curl.get(), CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, 20L);
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_LIMIT, 1L);  // bytes a second,
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_TIME, 60L);  // for a minute: the line is dead
  curl_easy_setopt(curl.get(), CURLOPT_USERAGENT, "ghostgrad");
  Outcome outcome;
  outcome.code = curl_easy_perform(curl.get());
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &outcome.status);
  outcome.text = text[0] != '\0' ? text : curl_easy_strerror(outcome.code);
  return outcome;
}

Transfer open_part(const std::filesystem::path& part, int flags) {
  Transfer transfer;
  transfer.file =
      FileDescriptor(::open(part.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644));
  GHOST_CHECK(transfer.file.is_open(), "cannot write {}: {}", part.string(), std::strerror(errno));
  transfer.held = ::lseek(transfer.file.get(), 0, SEEK_END);
  return transfer;
}

}  // namespace

void download(const std::string& url, const std::filesystem::path& part,
              const DownloadProgress& progress) {
  Transfer transfer = open_part(part, 0);
  transfer.progress = &progress;
  Outcome outcome = transfer_once(url, transfer);
  // 416: nothing lies past what we hold. Either that or no ranges at all: from the start again.
  constexpr long kRangeNotSatisfiable = 416;
  if (transfer.held > 0 &&
      (outcome.code == CURLE_RANGE_ERROR || outcome.code == CURLE_BAD_DOWNLOAD_RESUME ||
       outcome.status == kRangeNotSatisfiable)) {
    transfer = open_part(part, O_TRUNC);
    transfer.progress = &progress;
    outcome = transfer_once(url, transfer);
  }
  GHOST_CHECK(transfer.write_error == 0, "cannot write {}: {}", part.string(),
              std::strerror(transfer.write_error));
  if (is_unreachable(outcome.code)) {
    fail("cannot reach {}: {}; pass --from PATH to use a local copy", host_of(url), outcome.text);
  }
  if (outcome.code == CURLE_HTTP_RETURNED_ERROR) {
    fail("cannot fetch {}: HTTP status {}", url, outcome.status);
  }
  GHOST_CHECK(outcome.code == CURLE_OK, "cannot fetch {}: {}; what arrived stays in {}", url,
              outcome.text, part.string());
  GHOST_CHECK(::fsync(transfer.file.get()) == 0 && transfer.file.close(), "cannot write {}: {}",
              part.string(), std::strerror(errno));
}

}  // namespace ghost
