#include <utility>

#include "engine/config/check_range.h"
#include "engine/config/nearest_key.h"
#include "engine/config/section.h"

namespace ghost {
namespace {

std::string join_key(std::string_view section, std::string_view key) {
  return section.empty() ? std::string(key) : fmt::format("{}.{}", section, key);
}

// `path` and every path below it that a config may use. List elements take the index `index`: a
// suggestion inside a list keeps the element it is made for.
void list_keys(const Section& section, const std::string& path, std::vector<std::string>& keys) {
  for (const Field& field : section.fields) {
    const std::string key = join_key(path, field.key);
    keys.push_back(key);
    if (const auto* nested = std::get_if<Section>(&field.content)) {
      list_keys(*nested, key, keys);
    }
  }
}

class Reader {
 public:
  Reader(const Section& root, std::string_view prefix) : root_(root), prefix_(prefix) {}

  void read(const ConfigNode& node, const std::string& path, const Section& section) {
    if (!node.is_map() && !node.is_null()) {
      fail<ConfigError>("{}: {} is {}; expected a map", node.origin.text(),
                        path.empty() ? "the config" : path, node.describe());
    }
    for (const ConfigNode::Entry& entry : node.entries) {
      const Field* field = find(section, entry.key);
      if (field == nullptr) {
        fail_unknown(entry, path, section);
      }
      read_field(entry.value, join_key(path, field->key), *field);
    }
  }

 private:
  static const Field* find(const Section& section, std::string_view key) {
    for (const Field& field : section.fields) {
      if (field.key == key) {
        return &field;
      }
    }
    return nullptr;
  }

  void read_field(const ConfigNode& node, const std::string& path, const Field& field) {
    if (const auto* value = std::get_if<ValueField>(&field.content)) {
      value->read(node, path);
    } else if (const auto* nested = std::get_if<Section>(&field.content)) {
      read(node, path, *nested);
    } else {
      read_list(node, path, std::get<ListField>(field.content));
    }
  }

  void read_list(const ConfigNode& node, const std::string& path, const ListField& list) {
    if (!node.is_sequence()) {
      fail<ConfigError>("{}: {} is {}; expected a list of maps", node.origin.text(), path,
                        node.describe());
    }
    list.reset(node.items.size());
    const std::vector<Section> elements = list.elements();
    for (std::size_t i = 0; i < elements.size(); ++i) {
      read(node.items[i], fmt::format("{}.{}", path, i), elements[i]);
    }
  }

  [[noreturn]] void fail_unknown(const ConfigNode::Entry& entry, const std::string& path,
                                 const Section& section) const {
    const std::string key = join_key(path, entry.key);
    const std::string at = entry.value.origin.text();
    if (entry.key.find('.') != std::string::npos) {
      fail<ConfigError>("{}: unknown key {}; keys with dots are for --set, in YAML sections nest",
                        at, key);
    }
    std::vector<std::string> keys;
    list_keys(section, path, keys);
    list_keys(root_, prefix_, keys);
    const std::optional<std::string> nearest = nearest_key(key, keys);
    fail<ConfigError>("{}: unknown key {}{}", at, key,
                      nearest ? fmt::format("; did you mean {}?", *nearest) : "");
  }

  const Section& root_;
  std::string prefix_;
};

// Every section, also those that the file does not mention: a default may stand for "required".
// Parts come before the whole, which may then rely on them.
void validate(const Section& section, const std::string& path) {
  for (const Field& field : section.fields) {
    const std::string key = join_key(path, field.key);
    if (const auto* nested = std::get_if<Section>(&field.content)) {
      validate(*nested, key);
    } else if (const auto* list = std::get_if<ListField>(&field.content)) {
      const std::vector<Section> elements = list->elements();
      for (std::size_t i = 0; i < elements.size(); ++i) {
        validate(elements[i], fmt::format("{}.{}", key, i));
      }
    }
  }
  if (section.validate) {
    section.validate(path.empty() ? path : path + ".");
  }
}

// The node of a key, or of the nearest section around it that the files contain; null if none.
const ConfigNode* find_origin(const ConfigNode& root, std::string_view key) {
  while (!key.empty()) {
    if (const ConfigNode* node = root.find_path(key)) {
      return node;
    }
    const std::size_t dot = key.rfind('.');
    key = key.substr(0, dot == std::string_view::npos ? 0 : dot);
  }
  return nullptr;
}

}  // namespace

void read_fields(const ConfigNode& node, std::string_view prefix, const Section& section) {
  try {
    Reader(section, prefix).read(node, std::string(prefix), section);
    validate(section, std::string(prefix));
  } catch (const RangeError& error) {
    std::string_view key = error.key();
    if (!prefix.empty() && key.starts_with(prefix)) {
      key.remove_prefix(std::min(prefix.size() + 1, key.size()));
    }
    if (const ConfigNode* origin = find_origin(node, key)) {
      throw RangeError(error.key(), fmt::format("{}: {}", origin->origin.text(), error.what()));
    }
    throw;
  }
}

}  // namespace ghost
