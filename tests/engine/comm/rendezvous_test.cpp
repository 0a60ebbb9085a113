#include "engine/comm/rendezvous.h"

#include <arpa/inet.h>
#include <array>
#include <exception>
#include <map>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <vector>

#include "engine/core/error.h"
#include "engine/io/file_descriptor.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

using Variables = std::map<std::string, std::string>;

std::optional<Rendezvous> read(const Variables& variables) {
  return read_rendezvous([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

// A port that nobody has now: the system's choice, given back.
int free_port() {
  const FileDescriptor fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in any{};
  any.sin_family = AF_INET;
  any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(any);
  REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&any), sizeof(any)) == 0);
  REQUIRE(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&any), &length) == 0);
  return ntohs(any.sin_port);
}

using Bytes = std::array<std::byte, 128>;

// What every rank got, or the message of its error.
struct Shared {
  std::vector<Bytes> bytes;
  std::vector<std::string> errors;
};

Shared share(const std::vector<Rendezvous>& ranks, std::chrono::milliseconds timeout) {
  Shared out{.bytes = std::vector<Bytes>(ranks.size()),
             .errors = std::vector<std::string>(ranks.size())};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    out.bytes[i].fill(std::byte(ranks[i].rank == 0 ? 42 : 0));
    threads.emplace_back([&, i] {
      try {
        share_from_first(ranks[i], out.bytes[i], timeout);
      } catch (const std::exception& error) {
        out.errors[i] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  return out;
}

}  // namespace

TEST_CASE("A rendezvous is read from four variables", "[comm]") {
  CHECK_FALSE(read({}).has_value());
  CHECK_FALSE(read({{"MASTER_PORT", "x"}}).has_value());
  const Variables good = {
      {"RANK", "1"}, {"WORLD_SIZE", "4"}, {"MASTER_ADDR", "node0"}, {"MASTER_PORT", "1234"}};
  const auto at = read(good);
  REQUIRE(at.has_value());
  CHECK(at->rank == 1);
  CHECK(at->size == 4);
  CHECK(at->address == "node0");
  CHECK(at->port == 1234);
  CHECK(read({{"RANK", "0"}, {"WORLD_SIZE", "1"}})->size == 1);

  const auto with = [&](const std::string& name, const std::string& value) {
    Variables variables = good;
    variables[name] = value;
    return variables;
  };
  const auto without = [&](const std::string& name) {
    Variables variables = good;
    variables.erase(name);
    return variables;
  };
  CHECK_THROWS_WITH(read(without("RANK")),
                    "RANK is not set; expected RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT");
  CHECK_THROWS_WITH(read(with("RANK", "4")), "RANK is '4'; expected a number from 0 to 3");
  CHECK_THROWS_WITH(read(with("WORLD_SIZE", "two")),
                    "WORLD_SIZE is 'two'; expected a number from 1 to 65536");
  CHECK_THROWS_WITH(read(with("MASTER_PORT", "80x")),
                    "MASTER_PORT is '80x'; expected a number from 1 to 65535");
  CHECK_THROWS_WITH(read(without("MASTER_ADDR")),
                    "MASTER_ADDR is not set; expected the host of rank 0");
  CHECK_THROWS_AS(read(with("RANK", "")), ConfigError);
}

TEST_CASE("Ranks meet over TCP and get what the first has", "[comm]") {
  const int port = free_port();
  for (const char* address : {"127.0.0.1", "localhost"}) {
    std::vector<Rendezvous> ranks;
    for (int rank = 3; rank >= 0; --rank) {  // the first comes last
      ranks.push_back({.rank = rank, .size = 4, .address = address, .port = port});
    }
    const Shared got = share(ranks, std::chrono::seconds(30));
    Bytes expected;
    expected.fill(std::byte{42});
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      CHECK(got.errors[i].empty());
      CHECK(got.bytes[i] == expected);
    }
  }
}

TEST_CASE("A rank that does not come to a rendezvous is named", "[comm]") {
  const int port = free_port();
  const std::string place = fmt::format("127.0.0.1:{}", port);
  const auto timeout = std::chrono::milliseconds(100);
  CHECK(share({{.rank = 0, .size = 2, .port = port}}, timeout).errors[0] ==
        "rendezvous: rank 0 of 2 waited 0.1 s at " + place + "; expected rank 1 to come");
  CHECK(share({{.rank = 1, .size = 2, .port = port}}, timeout).errors[0] ==
        "rendezvous: rank 1 of 2 waited 0.1 s at " + place + "; expected rank 0 to listen there");
}

TEST_CASE("Ranks of different jobs do not mix", "[comm]") {
  const int port = free_port();
  const std::string place = fmt::format("127.0.0.1:{}", port);
  const Shared got =
      share({{.rank = 0, .size = 2, .port = port}, {.rank = 1, .size = 3, .port = port}},
            std::chrono::seconds(30));
  CHECK(got.errors[0] == "rendezvous at " + place +
                             ": rank 1 of 3 came for 128 bytes; expected a rank of 2 for 128");
  CHECK(got.errors[1] ==
        "rendezvous: rank 1 of 3 got no answer from rank 0 at " + place + "; expected 128 bytes");
}

}  // namespace ghost
