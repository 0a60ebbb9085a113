#pragma once

#include <arpa/inet.h>
#include <atomic>
#include <cstdlib>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>

#include "tests/support/catch.h"

namespace ghost {

/// An HTTP server of one file on the loopback interface: enough of HTTP/1.1 to test resuming.
class FileServer {
 public:
  enum class Ranges { kHonoured, kIgnored };

  FileServer(std::string content, Ranges ranges, std::size_t cut_after = std::string::npos)
      : content_(std::move(content)), ranges_(ranges), cut_after_(cut_after) {
    ::setenv("no_proxy", "127.0.0.1", 1);
    socket_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    socklen_t size = sizeof address;
    REQUIRE(::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    REQUIRE(::listen(socket_, 8) == 0);
    thread_ = std::thread([this] { serve(); });
  }
  FileServer(const FileServer&) = delete;
  FileServer& operator=(const FileServer&) = delete;
  ~FileServer() { stop(); }

  /// Ends the server; `requests` may be read from now on.
  void stop() {
    if (thread_.joinable()) {
      is_stopped_ = true;
      thread_.join();
      ::close(socket_);
    }
  }

  std::string url(const std::string& path = "/file") const {
    return fmt::format("http://127.0.0.1:{}{}", port_, path);
  }
  const std::vector<std::string>& requests() const { return requests_; }

 private:
  void serve() {
    while (!is_stopped_) {
      pollfd ready{.fd = socket_, .events = POLLIN, .revents = 0};
      if (::poll(&ready, 1, /*ms=*/10) <= 0) {
        continue;
      }
      const int client = ::accept(socket_, nullptr, nullptr);
      answer(client);
      ::close(client);
    }
  }

  void answer(int client) {
    std::string request(4096, '\0');
    const ::ssize_t size = ::recv(client, request.data(), request.size(), 0);
    request.resize(static_cast<std::size_t>(size > 0 ? size : 0));
    requests_.push_back(request);
    std::size_t begin = 0;
    const std::size_t range = request.find("Range: bytes=");
    if (range != std::string::npos && ranges_ == Ranges::kHonoured) {
      begin = static_cast<std::size_t>(std::stoul(request.substr(range + 13)));
    }
    std::string status = "200 OK";
    std::string extra;
    if (!request.starts_with("GET /file ")) {
      status = "404 Not Found";
      begin = content_.size();
    } else if (begin >= content_.size()) {
      status = "416 Range Not Satisfiable";
      begin = content_.size();
    } else if (begin > 0) {
      status = "206 Partial Content";
      extra = fmt::format("Content-Range: bytes {}-{}/{}\r\n", begin, content_.size() - 1,
                          content_.size());
    }
    const std::string body = content_.substr(begin);
    send_all(client, fmt::format("HTTP/1.1 {}\r\nContent-Length: {}\r\n{}Connection: close\r\n\r\n",
                                 status, body.size(), extra));
    send_all(client, body.substr(0, cut_after_));
  }

  static void send_all(int client, const std::string& bytes) {
    for (std::size_t sent = 0; sent < bytes.size();) {
      const ::ssize_t count =
          ::send(client, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) {
        return;
      }
      sent += static_cast<std::size_t>(count);
    }
  }

  std::string content_;
  Ranges ranges_;
  std::size_t cut_after_;  // bytes of a body before the server hangs up
  int socket_ = -1;
  int port_ = 0;
  std::atomic<bool> is_stopped_ = false;
  std::vector<std::string> requests_;
  std::thread thread_;
};

}  // namespace ghost
