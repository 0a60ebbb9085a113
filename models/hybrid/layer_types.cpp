#include "models/hybrid/layer_types.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

namespace ghost {
namespace {

constexpr std::int64_t kMaxLayers = 1000;  // that one pattern names

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(' ');
  return begin == std::string_view::npos
             ? std::string_view{}
             : text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

std::optional<LayerType> type_named(std::string_view name) {
  for (const auto& [type, known] : EnumNames<LayerType>::kNames) {
    if (known == name) {
      return type;
    }
  }
  return std::nullopt;
}

std::optional<std::int64_t> count_of(std::string_view text) {
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  const bool is_number = error == std::errc{} && end == text.data() + text.size();
  return is_number && count > 0 && count <= kMaxLayers ? std::optional(count) : std::nullopt;
}

/// Appends the layers of `term`, as 3*mamba3; whether it names any.
bool append_term(std::string_view term, std::vector<LayerType>& pattern) {
  const std::size_t star = term.find('*');
  const bool has_count = star != std::string_view::npos;
  const auto count =
      has_count ? count_of(trimmed(term.substr(0, star))) : std::optional<std::int64_t>(1);
  const auto type = type_named(trimmed(has_count ? term.substr(star + 1) : term));
  if (!count.has_value() || !type.has_value()) {
    return false;
  }
  pattern.insert(pattern.end(), static_cast<std::size_t>(*count), *type);
  return true;
}

}  // namespace

void read_value(const ConfigNode& node, const std::string& key, LayerTypes& value) {
  value.pattern.clear();
  if (node.is_sequence()) {
    read_value(node, key, value.pattern);
  } else if (node.is_scalar()) {
    std::string_view rest = node.scalar;
    for (bool is_last = false; !is_last;) {
      const std::size_t plus = rest.find('+');
      is_last = plus == std::string_view::npos;
      if (!append_term(rest.substr(0, plus), value.pattern)) {
        value.pattern.clear();
        break;
      }
      rest.remove_prefix(is_last ? rest.size() : plus + 1);
    }
  }
  if (value.pattern.empty()) {
    fail_value(node, key,
               fmt::format("counts and names of {}, as 3*mamba3 + attention, or a list of them",
                           fmt::join(names_of<LayerType>(), ", ")));
  }
}

std::string write_value(const LayerTypes& value) {
  std::vector<std::string> terms;
  for (auto at = value.pattern.begin(); at != value.pattern.end();) {
    const auto end = std::find_if(at, value.pattern.end(), [&](LayerType t) { return t != *at; });
    terms.push_back(end - at == 1 ? std::string(enum_name(*at))
                                  : fmt::format("{}*{}", end - at, enum_name(*at)));
    at = end;
  }
  return write_value(fmt::format("{}", fmt::join(terms, " + ")));
}

}  // namespace ghost
