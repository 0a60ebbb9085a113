#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "engine/core/error.h"
#include "tools/commands.h"

namespace {

void check_command(const CLI::App& app, const std::string& name) {
  std::vector<std::string> known;
  for (const CLI::App* command : app.get_subcommands({})) {
    known.push_back(command->get_name());
  }
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    ghost::fail<ghost::ConfigError>("unknown command {}; expected one of {}", name,
                                    fmt::join(known, ", "));
  }
}

}  // namespace

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
    if (argc > 1 && argv[1][0] != '-') {
      check_command(app, argv[1]);
    }
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
