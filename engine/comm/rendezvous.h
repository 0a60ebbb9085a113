#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>

namespace ghost {

/// Where ranks that nobody introduced to each other meet: rank 0 listens there.
struct Rendezvous {
  int rank = 0;
  int size = 1;
  std::string address = "127.0.0.1";  // of rank 0: a name or a number
  int port = 29500;
};

/// The value of a variable, null where it is not set.
using Lookup = std::function<const char*(const char* name)>;

/// From RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, as launchers of training jobs set them;
/// nothing where RANK and WORLD_SIZE are not set. Throws ghost::ConfigError naming the variable
/// that is missing or makes no sense.
std::optional<Rendezvous> read_rendezvous(const Lookup& lookup);

/// Fills `bytes` on every rank with those of rank 0, over TCP: a few bytes, once, at the start.
/// Throws ghost::Error naming rank and address when they do not meet within `timeout`, or when
/// ranks disagree about the size of the job.
void share_from_first(const Rendezvous& at, std::span<std::byte> bytes,
                      std::chrono::milliseconds timeout);

}  // namespace ghost
