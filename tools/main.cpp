#include <csignal>
#include <cstdio>
#include <exception>

#include <CLI/CLI.hpp>

#include "engine/core/error.h"
#include "tools/commands.h"

// Exit codes: 0 success, 1 failed while running, 2 bad usage or config.
int main(int argc, char** argv) {
  std::signal(SIGXFSZ,
              SIG_IGN);  // a file that may not grow is an error of the write, as a full disk
  CLI::App app{"Trains language models that keep sketches in place of activations."};
  app.name("ghostgrad");
  app.set_version_flag("--version", "ghostgrad 0.1.0");
  app.require_subcommand(1);
  ghost::register_commands(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& failure) {
    if (failure.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
      return app.exit(failure);
    }
    fmt::print(stderr, "error: {}\n", failure.what());
    return 2;
  } catch (const ghost::ConfigError& failure) {
    fmt::print(stderr, "error: {}\n", failure.what());
    return 2;
  } catch (const std::exception& failure) {
    fmt::print(stderr, "error: {}\n", failure.what());
    return 1;
  }
  return 0;
}
