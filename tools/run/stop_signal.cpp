#include "tools/run/stop_signal.h"

#include <csignal>

namespace ghost {
namespace {

// A handler can reach nothing but a global.
volatile std::sig_atomic_t received = 0;

void remember(int signal) {
  received = signal;
  std::signal(signal, SIG_DFL);
}

}  // namespace

StopSignal::StopSignal() {
  received = 0;
  std::signal(SIGINT, remember);
  std::signal(SIGTERM, remember);
}

StopSignal::~StopSignal() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

bool StopSignal::requested() const { return received != 0; }

std::string_view StopSignal::name() const {
  return received == SIGINT ? "SIGINT" : received == SIGTERM ? "SIGTERM" : "";
}

}  // namespace ghost
