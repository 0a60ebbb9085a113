#include "tools/console/console.h"

#include <cstdlib>
#include <ostream>
#include <sys/ioctl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "engine/core/error.h"

namespace ghost {
namespace {

constexpr std::string_view kGreen = "\x1b[32m";
constexpr std::string_view kYellow = "\x1b[33m";
constexpr std::string_view kCyan = "\x1b[36m";
constexpr std::string_view kPlain = "\x1b[0m";
constexpr std::string_view kEraseLine = "\r\x1b[2K";

std::string painted(bool color, std::string_view sgr, std::string_view text) {
  return color ? fmt::format("{}{}{}", sgr, text, kPlain) : std::string(text);
}

int terminal_columns() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
    return 80;
  }
  return size.ws_col;
}

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0';
}

}  // namespace

ConsoleOptions detect_console(std::int64_t log_every) {
  const char* term = std::getenv("TERM");
  const bool live =
      isatty(STDOUT_FILENO) == 1 && term != nullptr && std::string_view(term) != "dumb";
  ConsoleOptions options;
  options.live = live;
  options.color = live && !is_set("NO_COLOR");
  options.log_every = log_every;
  options.columns = terminal_columns;
  return options;
}

Console::Console(std::ostream& out, ConsoleOptions options)
    : out_(out), options_(std::move(options)) {
  GHOST_CHECK(options_.log_every > 0, "console: log_every is {}; expected a positive number",
              options_.log_every);
}

Console::~Console() { finish(); }

void Console::step(const StepLine& line) {
  // The last column stays free: some terminals wrap as soon as it is written.
  bar_ = options_.live ? format_live_bar(line, options_.columns() - 1) : std::string();
  if (line.step == 1 || line.step == line.steps || line.step % options_.log_every == 0) {
    print_line(format_step_line(line));
  } else if (std::chrono::steady_clock::now() - last_draw_ >= options_.redraw_every) {
    draw_bar();
  }
}

void Console::eval(const EvalLine& line) {
  std::string text = format_eval_line(line);
  if (line.best && options_.color) {
    const std::string_view best = "(best)";
    text.replace(text.find(best), best.size(), painted(true, kGreen, best));
  }
  print_line(text);
}

void Console::note(std::string_view text) { print_line(text); }

void Console::warn(std::string_view text) { print_line(painted(options_.color, kYellow, text)); }

void Console::finish() {
  clear_bar();
  bar_.clear();
  out_.flush();
}

void Console::print_line(std::string_view text) {
  clear_bar();
  out_ << text << '\n';
  draw_bar();
  out_.flush();
}

void Console::clear_bar() {
  if (is_drawn_) {
    out_ << kEraseLine;
    is_drawn_ = false;
  }
}

void Console::draw_bar() {
  if (bar_.empty()) {
    return;
  }
  clear_bar();
  const std::size_t end = bar_.front() == '[' ? bar_.find(']') + 1 : 0;
  out_ << (end > 0 ? painted(options_.color, kCyan, std::string_view(bar_).substr(0, end)) : "")
       << std::string_view(bar_).substr(end);
  out_.flush();
  is_drawn_ = true;
  last_draw_ = std::chrono::steady_clock::now();
}

}  // namespace ghost
