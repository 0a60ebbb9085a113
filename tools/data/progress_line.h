#pragma once

#include <chrono>
#include <iosfwd>
#include <string_view>

namespace ghost {

/// One line of a terminal that is written again and again; without a terminal nothing is written.
class ProgressLine {
 public:
  /// Borrows `out`.
  ProgressLine(std::ostream& out, bool is_live) : out_(out), is_live_(is_live) {}
  /// For the process's stdout.
  ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  ~ProgressLine() { finish(); }

  /// Shows `text`, cut to 79 characters, but at most ten times a second.
  void show(std::string_view text);
  /// Takes the line off the screen.
  void finish();

 private:
  std::ostream& out_;
  bool is_live_;
  bool is_drawn_ = false;
  std::chrono::steady_clock::time_point last_draw_;
};

}  // namespace ghost
