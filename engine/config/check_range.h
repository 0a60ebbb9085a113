#pragma once

#include <string>
#include <string_view>
#include <type_traits>

#include <fmt/format.h>

#include "engine/config/enum_names.h"
#include "engine/core/error.h"

namespace ghost {

/// A value of the right type that is not allowed. `read_config` adds the line of the key.
class RangeError : public ConfigError {
 public:
  RangeError(std::string key, const std::string& message)
      : ConfigError(message), key_(std::move(key)) {}

  const std::string& key() const { return key_; }

 private:
  std::string key_;
};

/// For `validate(prefix)`: throws RangeError
/// `train.batch_size is 0; expected a positive integer` unless `ok`.
///
///   check_range(batch_size > 0, prefix + "batch_size", batch_size, "a positive integer");
template <class T>
void check_range(bool ok, const std::string& key, const T& value, std::string_view expected) {
  if (ok) {
    return;
  }
  std::string text;
  if constexpr (NamedEnum<T>) {
    text = enum_name(value);
  } else if constexpr (std::is_convertible_v<T, std::string_view>) {
    text = fmt::format("\"{}\"", std::string_view(value));
  } else {
    text = fmt::format("{}", value);
  }
  throw RangeError(key, fmt::format("{} is {}; expected {}", key, text, expected));
}

}  // namespace ghost
