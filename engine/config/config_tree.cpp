#include "engine/config/config_tree.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <utility>

#include <yaml-cpp/yaml.h>

#include "engine/io/file.h"

namespace ghost {
namespace {

// Deeper than any config; what an alias to its own ancestor would exceed.
constexpr int kMaxDepth = 64;

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

// Turns yaml-cpp's nodes of one source into ours.
class Converter {
 public:
  // `has_lines` is false for --set, whose text is no file.
  Converter(std::string source, bool has_lines)
      : source_(std::move(source)), has_lines_(has_lines) {}

  ConfigNode convert(const YAML::Node& node) const { return convert(node, origin(node), 0); }

  ConfigNode parse(const std::string& text) const {
    try {
      const std::vector<YAML::Node> documents = YAML::LoadAll(text);
      if (documents.size() > 1) {
        fail<ConfigError>("{}: {} YAML documents; expected one", source_, documents.size());
      }
      return convert(documents.empty() ? YAML::Node() : documents.front());
    } catch (const YAML::Exception& error) {
      const ConfigOrigin at{source_, has_lines_ ? error.mark.line + 1 : 0};
      fail<ConfigError>("{}: not valid YAML: {}", at.text(), one_line(error.msg));
    }
  }

 private:
  ConfigOrigin origin(const YAML::Node& node) const {
    return {source_, has_lines_ ? node.Mark().line + 1 : 0};
  }

  ConfigNode convert(const YAML::Node& node, ConfigOrigin at, int depth) const {
    if (depth > kMaxDepth) {
      fail<ConfigError>("{}: nested deeper than {} levels", at.text(), kMaxDepth);
    }
    ConfigNode result;
    result.origin = std::move(at);
    if (node.IsScalar()) {
      result.kind = ConfigNode::Kind::kScalar;
      result.scalar = node.Scalar();
      result.quoted = node.Tag() == "!";
    } else if (node.IsSequence()) {
      result.kind = ConfigNode::Kind::kSequence;
      for (const YAML::Node& item : node) {
        result.items.push_back(convert(item, origin(item), depth + 1));
      }
    } else if (node.IsMap()) {
      result.kind = ConfigNode::Kind::kMap;
      for (const auto& entry : node) {
        add_entry(result, entry.first, entry.second, depth);
      }
    }
    return result;
  }

  void add_entry(ConfigNode& map, const YAML::Node& key, const YAML::Node& value, int depth) const {
    const ConfigOrigin at = origin(key);
    if (!key.IsScalar()) {
      fail<ConfigError>("{}: a key is not a plain word", at.text());
    }
    if (const ConfigNode* first = map.find(key.Scalar())) {
      fail<ConfigError>("{}: key {} stands twice in one map{}", at.text(), key.Scalar(),
                        has_lines_ ? "; first at " + first->origin.text() : "");
    }
    map.entries.push_back({key.Scalar(), convert(value, at, depth + 1)});
  }

  std::string source_;
  bool has_lines_;
};

void merge_over(ConfigNode& below, ConfigNode above) {
  if (!below.is_map() || !above.is_map()) {
    below = std::move(above);
    return;
  }
  for (ConfigNode::Entry& entry : above.entries) {
    if (ConfigNode* found = below.find(entry.key)) {
      merge_over(*found, std::move(entry.value));
    } else {
      below.entries.push_back(std::move(entry));
    }
  }
  below.origin = std::move(above.origin);
}

// Removes the key from the map and returns its value.
std::optional<ConfigNode> take(ConfigNode& map, std::string_view key) {
  for (auto entry = map.entries.begin(); entry != map.entries.end(); ++entry) {
    if (entry->key == key) {
      ConfigNode value = std::move(entry->value);
      map.entries.erase(entry);
      return value;
    }
  }
  return std::nullopt;
}

// Reads files along `base` keys; remembers the way to the present one to see a cycle.
class Loader {
 public:
  enum class Bases { kFollow, kKeep };

  explicit Loader(Bases bases = Bases::kFollow) : bases_(bases) {}

  ConfigNode load(const std::filesystem::path& path) {
    std::string text;
    try {
      text = read_file(path);
    } catch (const Error& error) {
      fail<ConfigError>("{}{}", included_from_, error.what());
    }
    return parse(text, path);
  }

  ConfigNode parse(std::string_view text, const std::filesystem::path& path) {
    open_.push_back(path);
    ConfigNode root = Converter(path.string(), true).parse(std::string(text));
    if (root.is_null()) {
      root.kind = ConfigNode::Kind::kMap;
    }
    if (!root.is_map()) {
      fail<ConfigError>("{}: the file is {}; expected a map", root.origin.text(), root.describe());
    }
    if (bases_ == Bases::kKeep) {
      return root;
    }
    if (const std::optional<ConfigNode> bases = take(root, "base")) {
      ConfigNode merged;
      for (const ConfigNode& base : base_list(*bases)) {
        merge_over(merged, load_base(base, path));
      }
      merge_over(merged, std::move(root));
      root = std::move(merged);
    }
    open_.pop_back();
    return root;
  }

 private:
  static std::vector<ConfigNode> base_list(const ConfigNode& bases) {
    std::vector<ConfigNode> list =
        bases.is_sequence() ? bases.items : std::vector<ConfigNode>{bases};
    for (const ConfigNode& base : list) {
      if (!base.is_scalar()) {
        fail<ConfigError>("{}: base is {}; expected a file name or a list of them",
                          base.origin.text(), base.describe());
      }
    }
    return list;
  }

  ConfigNode load_base(const ConfigNode& base, const std::filesystem::path& from) {
    const std::filesystem::path path = (from.parent_path() / base.scalar).lexically_normal();
    for (const std::filesystem::path& open : open_) {
      if (std::filesystem::weakly_canonical(open) == std::filesystem::weakly_canonical(path)) {
        fail<ConfigError>("{}: base {} is a cycle: it builds on this file", base.origin.text(),
                          path.string());
      }
    }
    included_from_ = base.origin.text() + ": ";
    return load(path);
  }

  Bases bases_;
  std::vector<std::filesystem::path> open_;
  std::string included_from_;  // prefix for the message about the next file
};

std::vector<std::string_view> split_path(std::string_view path) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = path.find('.', begin);
    parts.push_back(path.substr(begin, end - begin));
    if (end == std::string_view::npos) {
      return parts;
    }
    begin = end + 1;
  }
}

// The list element that a path segment names; null when it is no number or past the end.
const ConfigNode* find_item(const ConfigNode& list, std::string_view index) {
  std::size_t position = 0;
  const auto [end, error] = std::from_chars(index.data(), index.data() + index.size(), position);
  const bool is_number = error == std::errc{} && end == index.data() + index.size();
  return is_number && position < list.items.size() ? &list.items[position] : nullptr;
}

}  // namespace

std::string ConfigOrigin::text() const {
  return line > 0 ? fmt::format("{}:{}", source, line) : source;
}

const ConfigNode* ConfigNode::find(std::string_view key) const {
  for (const Entry& entry : entries) {
    if (entry.key == key) {
      return &entry.value;
    }
  }
  return nullptr;
}

ConfigNode* ConfigNode::find(std::string_view key) {
  return const_cast<ConfigNode*>(std::as_const(*this).find(key));
}

const ConfigNode* ConfigNode::find_path(std::string_view path) const {
  const ConfigNode* node = this;
  if (path.empty()) {
    return node;
  }
  for (const std::string_view part : split_path(path)) {
    node = node->is_sequence() ? find_item(*node, part) : node->find(part);
    if (node == nullptr) {
      return nullptr;
    }
  }
  return node;
}

std::string ConfigNode::describe() const {
  switch (kind) {
    case Kind::kNull:
      return "null";
    case Kind::kScalar:
      return fmt::format("\"{}\"", one_line(scalar));
    case Kind::kSequence:
      return "a list";
    case Kind::kMap:
      return "a map";
  }
  return {};
}

ConfigNode load_document(const std::filesystem::path& path) {
  return Loader(Loader::Bases::kKeep).load(path);
}

ConfigNode load_config(const std::filesystem::path& path) { return Loader().load(path); }

ConfigNode parse_config(std::string_view text, const std::filesystem::path& name) {
  return Loader().parse(text, name);
}

void apply_override(ConfigNode& root, std::string_view assignment) {
  const std::size_t equals = assignment.find('=');
  const std::string_view path = assignment.substr(0, equals);
  const std::vector<std::string_view> parts = split_path(path);
  if (equals == std::string_view::npos ||
      std::any_of(parts.begin(), parts.end(), [](std::string_view part) { return part.empty(); })) {
    fail<ConfigError>("--set {}: expected KEY=VALUE, such as train.steps=100", assignment);
  }
  const std::string source = fmt::format("--set {}", path);
  // Parsed first, so that a bad value leaves the tree as it was.
  ConfigNode value = Converter(source, false).parse(std::string(assignment.substr(equals + 1)));

  ConfigNode* node = &root;
  std::size_t done = 0;  // characters of the path that `node` stands for
  for (const std::string_view part : parts) {
    const std::string_view here = path.substr(0, done);
    done += part.size() + (done > 0 ? 1 : 0);
    if (node->is_sequence()) {
      const ConfigNode* item = find_item(*node, part);
      if (item == nullptr) {
        fail<ConfigError>("{}: {} has {} elements; expected an index below that, not {}", source,
                          here, node->items.size(), part);
      }
      node = const_cast<ConfigNode*>(item);
      continue;
    }
    if (node->is_scalar()) {
      fail<ConfigError>("{}: {} is {}, which has no keys", source, here, node->describe());
    }
    node->kind = ConfigNode::Kind::kMap;
    if (node->find(part) == nullptr) {
      ConfigNode made;
      made.origin = {source, 0};
      node->entries.push_back({std::string(part), std::move(made)});
    }
    node = node->find(part);
  }
  *node = std::move(value);
}

}  // namespace ghost
