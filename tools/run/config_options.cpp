#include "tools/run/config_options.h"

namespace ghost {

void ConfigOptions::add_to(CLI::App& command) {
  command.add_option("--set", overrides, "change a key: --set train.steps=100 (repeatable)")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command.add_option("--device", device, "cpu, cuda or cuda:N; as --set device=...");
}

Config ConfigOptions::load() const {
  std::vector<std::string> changes = overrides;
  if (!device.empty()) {
    changes.push_back("device=" + device);
  }
  return load_run_config(file, changes);
}

}  // namespace ghost
