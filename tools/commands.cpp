#include "tools/commands.h"

#include "tools/train/command.h"

namespace ghost {

void register_commands(CLI::App& app) { register_train(app); }

}  // namespace ghost
