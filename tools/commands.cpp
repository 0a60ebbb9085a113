#include "tools/commands.h"

#include "tools/bench/command.h"
#include "tools/data/command.h"
#include "tools/eval/command.h"
#include "tools/export/command.h"
#include "tools/inspect/command.h"
#include "tools/report/command.h"
#include "tools/sample/command.h"
#include "tools/sweep/command.h"
#include "tools/train/command.h"

namespace ghost {

void register_commands(CLI::App& app) {
  register_train(app);
  register_sweep(app);
  register_eval(app);
  register_sample(app);
  register_data(app);
  register_inspect(app);
  register_bench(app);
  register_report(app);
  register_export(app);
  register_import(app);
}

}  // namespace ghost
