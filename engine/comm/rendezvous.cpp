#include "engine/comm/rendezvous.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string_view>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <vector>

#include "engine/core/error.h"
#include "engine/io/file_descriptor.h"

namespace ghost {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kMagic = 0x47485354;  // other programs may try the same port

/// What every rank says first.
struct Greeting {
  std::uint32_t magic = kMagic;
  std::int32_t rank = 0;
  std::int32_t size = 0;
  std::int32_t num_bytes = 0;
};

int read_number(const Lookup& lookup, const char* name, int least, int most) {
  const char* text = lookup(name);
  if (text == nullptr) {
    fail<ConfigError>("{} is not set; expected RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT",
                      name);
  }
  int value = 0;
  const char* end = text + std::strlen(text);
  const auto [rest, code] = std::from_chars(text, end, value);
  if (code != std::errc{} || rest != end || value < least || value > most) {
    fail<ConfigError>("{} is '{}'; expected a number from {} to {}", name, text, least, most);
  }
  return value;
}

std::string system_text() { return std::generic_category().message(errno); }

std::string place(const Rendezvous& at) { return fmt::format("{}:{}", at.address, at.port); }

[[noreturn]] void fail_late(const Rendezvous& at, std::chrono::milliseconds timeout,
                            std::string_view expected) {
  fail("rendezvous: rank {} of {} waited {:g} s at {}; expected {}", at.rank, at.size,
       std::chrono::duration<double>(timeout).count(), place(at), expected);
}

/// False when the deadline is over first.
bool wait_for(int fd, short events, Clock::time_point deadline) {
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) {
      return false;
    }
    pollfd watched{.fd = fd, .events = events, .revents = 0};
    const int count = ::poll(&watched, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
    if (count > 0) {
      return true;
    }
    if (count < 0 && errno != EINTR) {
      return false;
    }
  }
}

/// False when the other side left or the deadline is over.
bool read_all(int fd, std::span<std::byte> bytes, Clock::time_point deadline) {
  while (!bytes.empty()) {
    if (!wait_for(fd, POLLIN, deadline)) {
      return false;
    }
    const ssize_t count = ::recv(fd, bytes.data(), bytes.size(), 0);
    if (count <= 0) {
      return false;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return true;
}

bool write_all(int fd, std::span<const std::byte> bytes, Clock::time_point deadline) {
  while (!bytes.empty()) {
    if (!wait_for(fd, POLLOUT, deadline)) {
      return false;
    }
    const ssize_t count = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (count <= 0) {
      return false;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return true;
}

FileDescriptor listen_at(const Rendezvous& at) {
  FileDescriptor listener(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const bool has_ipv6 = listener.is_open();
  if (!has_ipv6) {
    listener = FileDescriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  }
  const int on = 1;
  const int off = 0;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  int code = 0;
  if (has_ipv6) {  // takes IPv4 too
    ::setsockopt(listener.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(static_cast<std::uint16_t>(at.port));
    any.sin6_addr = in6addr_any;
    code = ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&any), sizeof(any));
  } else {
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_port = htons(static_cast<std::uint16_t>(at.port));
    any.sin_addr.s_addr = htonl(INADDR_ANY);
    code = ::bind(listener.get(), reinterpret_cast<const sockaddr*>(&any), sizeof(any));
  }
  if (code != 0 || ::listen(listener.get(), at.size) != 0) {
    fail("rendezvous: rank 0 of {} cannot listen at port {}: {}", at.size, at.port, system_text());
  }
  return listener;
}

void serve(const Rendezvous& at, std::span<const std::byte> bytes,
           std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  const FileDescriptor listener = listen_at(at);
  std::vector<bool> has_come(static_cast<std::size_t>(at.size), false);
  has_come[0] = true;
  for (int num_missing = at.size - 1; num_missing > 0;) {
    if (!wait_for(listener.get(), POLLIN, deadline)) {
      const auto missing = std::find(has_come.begin(), has_come.end(), false);
      fail_late(at, timeout, fmt::format("rank {} to come", missing - has_come.begin()));
    }
    const FileDescriptor peer(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    Greeting greeting;
    // Whoever says something else, or nothing for a while, is no rank of ours.
    const Clock::time_point patience = std::min(deadline, Clock::now() + std::chrono::seconds(5));
    if (!peer.is_open() ||
        !read_all(peer.get(), std::as_writable_bytes(std::span(&greeting, 1)), patience) ||
        greeting.magic != kMagic) {
      continue;
    }
    GHOST_CHECK(greeting.size == at.size && greeting.rank > 0 && greeting.rank < at.size &&
                    greeting.num_bytes == static_cast<std::int64_t>(bytes.size()),
                "rendezvous at {}: rank {} of {} came for {} bytes; expected a rank of {} for {}",
                place(at), greeting.rank, greeting.size, greeting.num_bytes, at.size, bytes.size());
    const auto rank = static_cast<std::size_t>(greeting.rank);
    GHOST_CHECK(!has_come[rank], "rendezvous at {}: rank {} came twice; expected every rank once",
                place(at), greeting.rank);
    if (write_all(peer.get(), bytes, deadline)) {
      has_come[rank] = true;
      --num_missing;
    }
  }
}

/// Once; closed when rank 0 does not answer there yet.
FileDescriptor try_to_connect(const Rendezvous& at, Clock::time_point deadline) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int code =
      ::getaddrinfo(at.address.c_str(), std::to_string(at.port).c_str(), &hints, &list);
  GHOST_CHECK(code == 0, "rendezvous: rank {} of {} cannot find {}: {}", at.rank, at.size,
              at.address, ::gai_strerror(code));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, ::freeaddrinfo);
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    FileDescriptor fd(::socket(entry->ai_family, entry->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                               entry->ai_protocol));
    if (!fd.is_open()) {
      continue;
    }
    if (::connect(fd.get(), entry->ai_addr, entry->ai_addrlen) != 0 && errno != EINPROGRESS) {
      continue;
    }
    int error = 0;
    socklen_t length = sizeof(error);
    if (wait_for(fd.get(), POLLOUT, deadline) &&
        ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0) {
      return fd;
    }
  }
  return {};
}

void ask(const Rendezvous& at, std::span<std::byte> bytes, std::chrono::milliseconds timeout) {
  const Clock::time_point deadline = Clock::now() + timeout;
  for (;;) {
    const FileDescriptor fd = try_to_connect(at, deadline);
    const Greeting greeting{
        .rank = at.rank, .size = at.size, .num_bytes = static_cast<std::int32_t>(bytes.size())};
    if (fd.is_open() && write_all(fd.get(), std::as_bytes(std::span(&greeting, 1)), deadline)) {
      GHOST_CHECK(read_all(fd.get(), bytes, deadline),
                  "rendezvous: rank {} of {} got no answer from rank 0 at {}; expected {} bytes",
                  at.rank, at.size, place(at), bytes.size());
      return;
    }
    if (Clock::now() >= deadline) {
      fail_late(at, timeout, "rank 0 to listen there");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace

std::optional<Rendezvous> read_rendezvous(const Lookup& lookup) {
  if (lookup("RANK") == nullptr && lookup("WORLD_SIZE") == nullptr) {
    return std::nullopt;
  }
  constexpr int kMostRanks = 1 << 16;
  constexpr int kMostPorts = 65535;
  Rendezvous at;
  at.size = read_number(lookup, "WORLD_SIZE", 1, kMostRanks);
  at.rank = read_number(lookup, "RANK", 0, at.size - 1);
  if (at.size > 1) {
    const char* address = lookup("MASTER_ADDR");
    if (address == nullptr || *address == '\0') {
      fail<ConfigError>("MASTER_ADDR is not set; expected the host of rank 0");
    }
    at.address = address;
    at.port = read_number(lookup, "MASTER_PORT", 1, kMostPorts);
  }
  return at;
}

void share_from_first(const Rendezvous& at, std::span<std::byte> bytes,
                      std::chrono::milliseconds timeout) {
  if (at.size == 1) {
    return;
  }
  if (at.rank == 0) {
    serve(at, bytes, timeout);
  } else {
    ask(at, bytes, timeout);
  }
}

}  // namespace ghost
