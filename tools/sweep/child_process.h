#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace ghost {

/// This program, started again with other arguments; its output goes to a file. A process that is
/// still running when the object goes is asked to end (SIGTERM) and waited for.
class ChildProcess {
 public:
  /// Appends stdout and stderr to `log`. Throws ghost::Error when the process cannot be started.
  ChildProcess(const std::vector<std::string>& arguments, const std::filesystem::path& log);
  ~ChildProcess();
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;

  /// The exit code once it has ended, 128 + N for signal N; does not wait.
  std::optional<int> poll();
  void terminate() const;

 private:
  pid_t pid_ = 0;  // 0: none, or ended
  std::optional<int> code_;
};

}  // namespace ghost
