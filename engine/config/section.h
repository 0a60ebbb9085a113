#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/config/config_tree.h"

namespace ghost {

struct Field;

/// A config struct without its type: its fields, bound to the members of one object, which must
/// outlive this. fields.h makes it; the reader, the writer and the help listing walk it.
struct Section {
  std::vector<Field> fields;
  std::function<void(const std::string& prefix)> validate;  // empty when the struct has none
  std::shared_ptr<void> owner;                              // the object, where nobody else has it
};

/// A member that stands on one line.
struct ValueField {
  std::string type;  // as TypeText gives it
  std::function<void(const ConfigNode& node, const std::string& key)> read;
  std::function<std::string()> write;
};

/// A member that is a list of config structs.
struct ListField {
  Section element;                              // of a default element: its keys, defaults and docs
  std::function<void(std::size_t size)> reset;  // to that many default elements
  std::function<std::vector<Section>()> elements;
};

struct Field {
  std::string key;
  std::string doc;
  std::variant<ValueField, Section, ListField> content;
};

/// Reads a map into the members, then validates every section. Keys that the map lacks keep their
/// value.
/// `prefix` is the dotted path of the section in messages: empty for a whole file.
/// Throws ghost::ConfigError, with file and line, for unknown keys, wrong types and bad ranges.
void read_fields(const ConfigNode& node, std::string_view prefix, const Section& section);

/// YAML of every field, with its doc as a comment.
std::string write_fields(const Section& section);

/// One line per field, `train.steps = 5000    optimizer steps, > 0 [integer]`.
std::string describe_fields(const Section& section);

}  // namespace ghost
