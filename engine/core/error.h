#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace ghost {

/// A run that failed: one sentence that says what failed, on which values, what was expected.
/// The command line prints it as `error: ...` and exits with 1.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message) : std::runtime_error(message) {}
};

/// Bad usage or configuration: a flag, a YAML key, an unreadable config. Exit code 2.
class ConfigError : public Error {
 public:
  explicit ConfigError(const std::string& message) : Error(message) {}
};

/// Throws `Error` (or `E`) with a formatted message.
template <typename E = Error, typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw E(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace ghost

/// On in every build. The message is built only on failure.
#define GHOST_CHECK(condition, ...) \
  do {                              \
    if (!(condition)) {             \
      ::ghost::fail(__VA_ARGS__);   \
    }                               \
  } while (false)
