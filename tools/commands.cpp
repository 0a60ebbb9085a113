#include "tools/commands.h"

#include "tools/bench/command.h"
#include "tools/inspect/command.h"
#include "tools/train/command.h"

namespace ghost {

void register_commands(CLI::App& app) {
  register_train(app);
  register_inspect(app);
  register_bench(app);
}

}  // namespace ghost
