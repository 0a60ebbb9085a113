#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/error.h"

namespace ghost {

/// Where a value was written: a line of a file, or a command-line override.
struct ConfigOrigin {
  std::string source;     // a path, or `--set a.b`
  std::int64_t line = 0;  // from 1; 0 when the source has no lines

  /// `gpt_small.yaml:14` or `--set a.b`.
  std::string text() const;
};

/// One node of a YAML document after `base` files and overrides were merged. Maps keep their order.
struct ConfigNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };
  struct Entry;

  Kind kind = Kind::kNull;
  std::string scalar;             // text of a scalar, unquoted
  bool quoted = false;            // "5" and 5 are the same text, but only one is a number
  std::vector<ConfigNode> items;  // of a sequence
  std::vector<Entry> entries;     // of a map
  ConfigOrigin origin;            // of the key, for a value in a map

  bool is_null() const { return kind == Kind::kNull; }
  bool is_scalar() const { return kind == Kind::kScalar; }
  bool is_sequence() const { return kind == Kind::kSequence; }
  bool is_map() const { return kind == Kind::kMap; }

  /// The value of a key, or null when this is no map or has no such key.
  const ConfigNode* find(std::string_view key) const;
  ConfigNode* find(std::string_view key);

  /// The node at a dotted path such as `residuals.rules.0.keep`, or null. An empty path is this.
  const ConfigNode* find_path(std::string_view path) const;

  /// As messages show a value: `"text"`, `null`, `a list` or `a map`.
  std::string describe() const;
};

struct ConfigNode::Entry {
  std::string key;
  ConfigNode value;
};

/// Reads a YAML file and the files it builds on.
///
/// `base: other.yaml` at the top, or a list of such, names files relative to this one. They are
/// read first, in order; each later file, and this one last, is merged over them: maps key by key,
/// all else replaced. Throws ghost::ConfigError with file and line for unreadable files, YAML
/// errors, keys that stand twice in a map and files that are their own base.
ConfigNode load_config(const std::filesystem::path& path);

/// One YAML file alone: `base` is a key like any other. Errors as load_config.
ConfigNode load_document(const std::filesystem::path& path);

/// The same as load_config for YAML in memory; `name` stands for the file in messages, bases are
/// relative to it.
ConfigNode parse_config(std::string_view text, const std::filesystem::path& name);

/// Applies `a.b=value`, the argument of --set. The value is YAML; missing maps are made; a number
/// in the path is the index of a list element that exists. Throws ghost::ConfigError.
void apply_override(ConfigNode& root, std::string_view assignment);

}  // namespace ghost
