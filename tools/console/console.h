#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>

#include "tools/console/step_line.h"

namespace ghost {

/// How the console writes. `detect_console` fills it for stdout; tests fill it by hand.
struct ConsoleOptions {
  bool live = false;            // rewrite the current step in place with carriage returns
  bool color = false;           // SGR sequences; only ever together with live
  std::int64_t log_every = 10;  // steps between plain lines, > 0
  std::chrono::milliseconds redraw_every{100};       // shortest time between two redraws of the bar
  std::function<int()> columns = [] { return 80; };  // asked at each redraw: windows are resized
};

/// Options for the process's stdout: a live bar only on a terminal that is not `dumb`, colour only
/// where the bar is live and NO_COLOR (no-color.org) is unset or empty.
ConsoleOptions detect_console(std::int64_t log_every);

/// The progress of a run: plain lines every `log_every` steps, and on a terminal the current step
/// as a live bar below them. Without a terminal: plain lines, no colour, no carriage return.
class Console {
 public:
  /// Borrows `out`. Throws ghost::Error when log_every is not positive.
  Console(std::ostream& out, ConsoleOptions options);
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;
  ~Console();

  /// Call after every step. Prints a plain line on step 1, on each multiple of log_every and on the
  /// last step.
  void step(const StepLine& line);
  void eval(const EvalLine& line);

  /// A line of its own: what is being loaded, where a checkpoint lies. `text` has no line end.
  void note(std::string_view text);

  /// As note, to be noticed: yellow where there is colour.
  void warn(std::string_view text);

  /// Takes the bar off the screen. Later calls may draw it again.
  void finish();

 private:
  void print_line(std::string_view text);
  void clear_bar();
  void draw_bar();

  std::ostream& out_;
  ConsoleOptions options_;
  std::string bar_;        // the last bar drawn or due; empty before the first step
  bool is_drawn_ = false;  // the cursor stands behind a bar
  std::chrono::steady_clock::time_point last_draw_;
};

}  // namespace ghost
