#include "tools/data/data_root.h"

#include "data/data_config.h"
#include "engine/config/config_tree.h"
#include "engine/config/fields.h"

namespace ghost {

void DataRootOption::add_to(CLI::App& command) {
  command.add_option("--set", overrides, "data.root=DIR: the directory that data lies below")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
}

std::filesystem::path DataRootOption::path() const {
  ConfigNode tree{.kind = ConfigNode::Kind::kMap};
  for (const std::string& assignment : overrides) {
    if (!assignment.starts_with("data.root=")) {
      fail<ConfigError>("--set {}: the data commands take only data.root=DIR", assignment);
    }
    apply_override(tree, assignment);
  }
  const ConfigNode* section = tree.find("data");
  const DataConfig config =
      section == nullptr ? DataConfig{} : read_section<DataConfig>(*section, "data");
  if (config.root.empty()) {
    fail<ConfigError>("--set data.root=: expected a directory");
  }
  return config.root;
}

}  // namespace ghost
