#pragma once

#include <string>
#include <utility>

#include "engine/comm/communicator.h"

namespace ghost {

/// The group of one rank: nothing moves, sums are the summands. Takes tensors of a dry device too.
class SelfCommunicator final : public Communicator {
 public:
  explicit SelfCommunicator(CommOptions options = {}, std::string name = "world")
      : Communicator(std::move(name), 0, 1, std::move(options), Device{}) {}

 private:
  void exchange(const Exchange& exchange) override {
    fail("{} has no other ranks", who(exchange.op));
  }
  std::unique_ptr<Communicator> make_group(const Group& group) override {
    return std::make_unique<SelfCommunicator>(options(), group.name);
  }
};

}  // namespace ghost
