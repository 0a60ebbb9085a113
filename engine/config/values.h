#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config/config_tree.h"
#include "engine/config/enum_names.h"

// The types that a config member may have, each with three functions:
//   type_text    what help shows: `integer`, `constant | cosine`, `list of numbers`
//   read_value   from YAML; throws ConfigError `a.yaml:9: train.steps is "many"; expected an
//   integer` write_value  as YAML on one line that reads back to the same value

namespace ghost {

void read_value(const ConfigNode& node, const std::string& key, bool& value);
void read_value(const ConfigNode& node, const std::string& key, std::int64_t& value);
void read_value(const ConfigNode& node, const std::string& key, double& value);
void read_value(const ConfigNode& node, const std::string& key, std::string& value);

std::string write_value(bool value);
std::string write_value(std::int64_t value);
std::string write_value(double value);
std::string write_value(const std::string& value);

/// Throws the ConfigError for a value that is not `expected`.
[[noreturn]] void fail_value(const ConfigNode& node, const std::string& key,
                             std::string_view expected);

/// Index of the scalar in `names`; throws when it is none of them.
std::size_t read_name(const ConfigNode& node, const std::string& key,
                      std::span<const std::string_view> names);

template <NamedEnum E>
std::vector<std::string_view> names_of() {
  std::vector<std::string_view> names;
  for (const EnumName<E>& known : EnumNames<E>::kNames) {
    names.push_back(known.name);
  }
  return names;
}

template <NamedEnum E>
void read_value(const ConfigNode& node, const std::string& key, E& value) {
  value = EnumNames<E>::kNames[read_name(node, key, names_of<E>())].value;
}

template <NamedEnum E>
std::string write_value(E value) {
  return write_value(std::string(enum_name(value)));
}

/// `null` and `~` unset it.
template <class T>
void read_value(const ConfigNode& node, const std::string& key, std::optional<T>& value) {
  value.reset();
  if (!node.is_null()) {
    T read{};
    read_value(node, key, read);
    value = std::move(read);
  }
}

template <class T>
std::string write_value(const std::optional<T>& value) {
  return value ? write_value(*value) : "null";
}

template <class T>
void read_value(const ConfigNode& node, const std::string& key, std::vector<T>& value) {
  if (!node.is_sequence()) {
    fail_value(node, key, "a list");
  }
  value.clear();
  for (std::size_t i = 0; i < node.items.size(); ++i) {
    T read{};
    read_value(node.items[i], fmt::format("{}.{}", key, i), read);
    value.push_back(std::move(read));
  }
}

template <class T>
std::string write_value(const std::vector<T>& value) {
  std::vector<std::string> texts;
  for (const T& item : value) {
    texts.push_back(write_value(item));
  }
  return fmt::format("[{}]", fmt::join(texts, ", "));
}

template <class T>
struct TypeText;

template <>
struct TypeText<bool> {
  static std::string get() { return "boolean"; }
};
template <>
struct TypeText<std::int64_t> {
  static std::string get() { return "integer"; }
};
template <>
struct TypeText<double> {
  static std::string get() { return "number"; }
};
template <>
struct TypeText<std::string> {
  static std::string get() { return "text"; }
};
template <NamedEnum E>
struct TypeText<E> {
  static std::string get() { return fmt::format("{}", fmt::join(names_of<E>(), " | ")); }
};
template <class T>
struct TypeText<std::optional<T>> {
  static std::string get() { return TypeText<T>::get() + " or null"; }
};
template <class T>
struct TypeText<std::vector<T>> {
  static std::string get() { return "list of " + TypeText<T>::get(); }
};

}  // namespace ghost
