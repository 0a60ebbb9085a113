#include "engine/config/values.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace ghost {
namespace {

// Plain scalars only: "5" in quotes is a text.
std::optional<double> parse_number(const ConfigNode& node) {
  const std::string& text = node.scalar;
  if (!node.is_scalar() || node.quoted || text.empty()) {
    return std::nullopt;
  }
  if (text == ".inf" || text == "-.inf") {
    return text.front() == '-' ? -std::numeric_limits<double>::infinity()
                               : std::numeric_limits<double>::infinity();
  }
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  // from_chars also knows the words inf and nan, which YAML does not.
  if (error != std::errc{} || stop != end || !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool is_word(char c) {
  return is_letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '/' || c == '-';
}

// Whether YAML could take the text, left bare, for something else. Words and paths are safe.
bool needs_quotes(std::string text) {
  static constexpr std::array<std::string_view, 7> kTaken = {"null", "true", "false", "yes",
                                                             "no",   "on",   "off"};
  if (text.empty() || !(is_letter(text.front()) || text.front() == '/') ||
      !std::all_of(text.begin(), text.end(), is_word)) {
    return true;
  }
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c <= 'Z' && is_letter(c) ? static_cast<char>(c + 32) : c; });
  return std::find(kTaken.begin(), kTaken.end(), text) != kTaken.end();
}

std::string quote(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (code < 0x20 || code == 0x7f) {
      quoted += fmt::format("\\x{:02x}", code);
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

}  // namespace

void fail_value(const ConfigNode& node, const std::string& key, std::string_view expected) {
  fail<ConfigError>("{}: {} is {}; expected {}", node.origin.text(), key, node.describe(),
                    expected);
}

std::size_t read_name(const ConfigNode& node, const std::string& key,
                      std::span<const std::string_view> names) {
  const auto found = std::find(names.begin(), names.end(), node.scalar);
  if (!node.is_scalar() || found == names.end()) {
    fail_value(node, key, fmt::format("one of {}", fmt::join(names, ", ")));
  }
  return static_cast<std::size_t>(found - names.begin());
}

void read_value(const ConfigNode& node, const std::string& key, bool& value) {
  if (!node.is_scalar() || node.quoted || (node.scalar != "true" && node.scalar != "false")) {
    fail_value(node, key, "true or false");
  }
  value = node.scalar == "true";
}

void read_value(const ConfigNode& node, const std::string& key, std::int64_t& value) {
  const std::optional<double> number = parse_number(node);
  const char* end = node.scalar.data() + node.scalar.size();
  std::int64_t parsed = 0;
  const auto [stop, error] = std::from_chars(node.scalar.data(), end, parsed);
  if (number && error == std::errc{} && stop == end) {
    value = parsed;
    return;
  }
  // 6e5 and 1e9: floats that are whole numbers.
  if (!number || *number != std::trunc(*number)) {
    fail_value(node, key, "an integer");
  }
  constexpr double kExact = 9007199254740992.0;  // 2^53: above, a double skips integers
  if (std::abs(*number) > kExact) {
    fail_value(node, key, "an integer of 64 bits, or of 53 bits when written as a float");
  }
  value = static_cast<std::int64_t>(*number);
}

void read_value(const ConfigNode& node, const std::string& key, double& value) {
  const std::optional<double> number = parse_number(node);
  if (!number) {
    fail_value(node, key, "a number");
  }
  value = *number;
}

void read_value(const ConfigNode& node, const std::string& key, std::string& value) {
  if (!node.is_scalar()) {
    fail_value(node, key, "a text");
  }
  value = node.scalar;
}

std::string write_value(bool value) { return value ? "true" : "false"; }

std::string write_value(std::int64_t value) { return fmt::format("{}", value); }

std::string write_value(double value) {
  if (std::isinf(value)) {
    return value < 0 ? "-.inf" : ".inf";
  }
  std::string text = fmt::format("{}", value);  // the shortest text that reads back
  // YAML 1.1 readers take 1e-05 for a text and 1 for an integer.
  if (text.find('.') == std::string::npos) {
    text.insert(std::min(text.find('e'), text.size()), ".0");
  }
  return text;
}

std::string write_value(const std::string& value) {
  return needs_quotes(value) ? quote(value) : value;
}

}  // namespace ghost
