#include "tools/console/console.h"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string>

#include "engine/core/error.h"
#include "tests/support/catch.h"

namespace ghost {
namespace {

StepLine example_step() {
  return {.step = 120,
          .steps = 5000,
          .loss = 4.12341,
          .grad_norm = 0.81229,
          .lr = 6e-4,
          .ms_per_step = 98.4,
          .tokens_per_s = 665820.2,
          .mfu = 0.523,
          .activation_bytes = 43201331,
          .eta_s = 481};
}

ConsoleOptions terminal(int columns, bool color) {
  ConsoleOptions options;
  options.live = true;
  options.color = color;
  options.log_every = 10;
  options.redraw_every = std::chrono::milliseconds(0);
  options.columns = [columns] { return columns; };
  return options;
}

TEST_CASE("a step line carries the fields of the field in their order", "[console]") {
  CHECK(format_step_line(example_step()) ==
        "step    120/5000 (2.4%) | loss 4.1234 | norm 0.8123 | lr 6.00e-04 | 98.4 ms | "
        "665,820 tok/s | 52.3% MFU | act 41.2 MiB | eta 8m01s");
}

TEST_CASE("a step line prints no MFU where the peak is unknown", "[console]") {
  StepLine line = example_step();
  line.mfu.reset();
  CHECK(format_step_line(line).find("MFU") == std::string::npos);
}

TEST_CASE("a step line shows a loss that is not a number as it is", "[console]") {
  StepLine line = example_step();
  line.loss = std::nan("");
  line.tokens_per_s = INFINITY;
  const std::string text = format_step_line(line);
  CHECK(text.find("| loss nan |") != std::string::npos);
  CHECK(text.find("| ? tok/s |") != std::string::npos);
}

TEST_CASE("an eval line names the best loss and the number of batches", "[console]") {
  CHECK(format_eval_line(
            {.step = 250, .steps = 5000, .val_loss = 3.912, .batches = 40, .best = true}) ==
        "step    250/5000 | val loss 3.9120 (best) | 40 batches");
  CHECK(format_eval_line({.step = 250,
                          .steps = 5000,
                          .val_loss = 3.912,
                          .train_loss = 3.8,
                          .batches = 1,
                          .best = false}) ==
        "step    250/5000 | val loss 3.9120 | train loss 3.8000 | 1 batch");
  CHECK(format_eval_line({.step = 250,
                          .steps = 5000,
                          .val_loss = 3.912,
                          .batches = 2,
                          .best = true,
                          .label = "sees future"}) ==
        "step    250/5000 | val loss 3.9120 (best), sees future | 2 batches");
}

TEST_CASE("the live bar fits any width and drops its last fields first", "[console]") {
  for (int columns = 0; columns <= 200; ++columns) {
    CHECK(static_cast<int>(format_live_bar(example_step(), columns).size()) <= columns);
  }
  CHECK(format_live_bar(example_step(), 120) ==
        "[>                                       ] 120/5000 2.4% | loss 4.1234 | eta 8m01s | "
        "665,820 tok/s | 52.3% MFU");
  CHECK(format_live_bar(example_step(), 50) ==
        "[>                   ] 120/5000 2.4% | loss 4.1234");
  CHECK(format_live_bar(example_step(), 8) == "120/5000");
}

TEST_CASE("the live bar is full at the last step and empty at none", "[console]") {
  StepLine line = example_step();
  line.step = 5000;
  CHECK(format_live_bar(line, 50).substr(0, 24) == "[=================] 5000");
  line.step = 0;
  line.steps = 0;
  CHECK(format_live_bar(line, 50).substr(0, 3) == "[> ");
}

TEST_CASE("without a terminal the console prints plain lines every N steps", "[console]") {
  std::ostringstream out;
  ConsoleOptions options;
  options.log_every = 10;
  {
    Console console(out, options);
    for (std::int64_t step = 1; step <= 25; ++step) {
      StepLine line = example_step();
      line.step = step;
      line.steps = 25;
      console.step(line);
    }
    console.eval({.step = 25, .steps = 25, .val_loss = 1.5, .batches = 2, .best = true});
    console.warn("checkpoint skipped");
  }
  const std::string text = out.str();
  CHECK(text.find('\r') == std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(std::count(text.begin(), text.end(), '\n') == 6);
  CHECK(text.find("step      1/25 ") == 0);
  CHECK(text.find("\nstep     10/25 ") != std::string::npos);
  CHECK(text.find("\nstep     20/25 ") != std::string::npos);
  CHECK(text.find("\nstep     25/25 (100.0%)") != std::string::npos);
  CHECK(text.find("\nstep     25/25 | val loss 1.5000 (best) | 2 batches\ncheckpoint skipped\n") !=
        std::string::npos);
}

TEST_CASE("on a terminal the bar is rewritten in place and erased at the end", "[console]") {
  std::ostringstream out;
  Console console(out, terminal(51, false));
  StepLine line = example_step();
  line.step = 121;
  console.step(line);
  CHECK(out.str() == "[>                   ] 121/5000 2.4% | loss 4.1234");

  out.str("");
  console.note("saved");
  CHECK(out.str() == "\r\x1b[2Ksaved\n[>                   ] 121/5000 2.4% | loss 4.1234");

  out.str("");
  console.finish();
  CHECK(out.str() == "\r\x1b[2K");
  out.str("");
  console.note("done");
  CHECK(out.str() == "done\n");
}

TEST_CASE("redraws are rationed", "[console]") {
  std::ostringstream out;
  ConsoleOptions options = terminal(51, false);
  options.redraw_every = std::chrono::hours(1);
  Console console(out, options);
  StepLine line = example_step();
  console.note("start");
  line.step = 120;  // a multiple of log_every: printed and drawn
  console.step(line);
  out.str("");
  line.step = 121;
  console.step(line);
  CHECK(out.str().empty());
}

TEST_CASE("colour marks the best loss, warnings and the bar, and only when asked", "[console]") {
  std::ostringstream out;
  Console console(out, terminal(51, true));
  console.eval({.step = 1, .steps = 2, .val_loss = 1, .batches = 2, .best = true});
  CHECK(out.str() == "step      1/2 | val loss 1.0000 \x1b[32m(best)\x1b[0m | 2 batches\n");
  out.str("");
  console.warn("slow");
  CHECK(out.str() == "\x1b[33mslow\x1b[0m\n");
  out.str("");
  StepLine line = example_step();
  line.step = 121;
  console.step(line);
  CHECK(out.str() == "\x1b[36m[>                   ]\x1b[0m 121/5000 2.4% | loss 4.1234");
}

TEST_CASE("the console refuses to print every zero steps", "[console]") {
  std::ostringstream out;
  ConsoleOptions options;
  options.log_every = 0;
  CHECK_THROWS_WITH(Console(out, options), "console: log_every is 0; expected a positive number");
}

}  // namespace
}  // namespace ghost
