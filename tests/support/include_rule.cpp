#include "tests/support/include_rule.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include <fmt/format.h>

namespace ghost::test {
namespace {

constexpr std::int64_t kMaxLines = 800;

/// A folder at the top and the folders that it may include.
struct Layer {
  std::string_view name;
  std::vector<std::string_view> sees;
};

const std::vector<Layer>& layers() {
  static const std::vector<Layer> all = {
      {"engine", {"engine"}},
      {"ops", {"engine", "ops"}},
      {"data", {"engine", "data"}},
      {"models", {"engine", "ops", "data", "models"}},
      {"tools", {"engine", "ops", "data", "models", "tools"}},
      {"tests", {"engine", "ops", "data", "models", "tools", "tests"}},
  };
  return all;
}

/// A vendor's headers, by how their names begin, and the folders that own them. Tests may include
/// any of them, to compare with.
struct Vendor {
  std::string_view prefix;
  std::vector<std::string_view> owners;
};

const std::vector<Vendor>& vendors() {
  static const std::vector<Vendor> all = {
      {"cuda", {"engine/device/cuda/", "ops/cuda/"}},
      {"cublas", {"engine/device/cuda/", "ops/cuda/"}},
      {"curand", {"engine/device/cuda/", "ops/cuda/"}},
      {"mma.h", {"engine/device/cuda/", "ops/cuda/"}},
      {"nccl", {"engine/comm/"}},
      {"mpi.h", {"engine/comm/"}},
      {"oneapi/dnnl", {"ops/cpu/"}},
      {"dnnl", {"ops/cpu/"}},
      {"Eigen/", {"ops/dense_matrix.cpp"}},
      {"yaml-cpp/", {"engine/config/"}},
      {"curl/", {"data/"}},
      {"zlib", {"data/"}},
      {"pcre2", {"data/"}},
      {"Random123/", {"engine/random/"}},
      {"openssl/", {"engine/io/"}},
      {"CLI/", {"tools/"}},
      {"catch2/", {"tests/"}},
  };
  return all;
}

bool starts_with_any(std::string_view text, const std::vector<std::string_view>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [text](std::string_view prefix) { return text.starts_with(prefix); });
}

std::string_view top_folder(std::string_view path) { return path.substr(0, path.find('/')); }

const Layer* find_layer(std::string_view name) {
  for (const Layer& layer : layers()) {
    if (layer.name == name) {
      return &layer;
    }
  }
  return nullptr;
}

struct Include {
  std::string_view name;
  bool is_quoted = false;
};

std::optional<Include> parse_include(std::string_view line) {
  const auto skip_blanks = [&line] {
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
  };
  skip_blanks();
  if (!line.starts_with('#')) {
    return std::nullopt;
  }
  line.remove_prefix(1);
  skip_blanks();
  constexpr std::string_view kWord = "include";
  if (!line.starts_with(kWord)) {
    return std::nullopt;
  }
  line.remove_prefix(kWord.size());
  skip_blanks();
  if (line.empty() || (line.front() != '"' && line.front() != '<')) {
    return std::nullopt;
  }
  const bool is_quoted = line.front() == '"';
  line.remove_prefix(1);
  return Include{line.substr(0, line.find(is_quoted ? '"' : '>')), is_quoted};
}

std::optional<std::string> check_include(std::string_view path, const Include& include) {
  const Layer& layer = *find_layer(top_folder(path));
  if (include.is_quoted) {
    const std::string_view target = top_folder(include.name);
    if (find_layer(target) == nullptr) {
      return fmt::format("includes \"{}\"; expected a path from the repository root", include.name);
    }
    if (std::find(layer.sees.begin(), layer.sees.end(), target) == layer.sees.end()) {
      return fmt::format("includes \"{}\"; {} sees only {}", include.name, layer.name,
                         fmt::join(layer.sees, ", "));
    }
    return std::nullopt;
  }
  for (const Vendor& vendor : vendors()) {
    if (layer.name != "tests" && include.name.starts_with(vendor.prefix) &&
        !starts_with_any(path, vendor.owners)) {
      return fmt::format("includes <{}>, which belongs to {}", include.name,
                         fmt::join(vendor.owners, " and "));
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> check_source(std::string_view path, std::string_view text) {
  std::vector<std::string> findings;
  if (find_layer(top_folder(path)) == nullptr) {
    findings.push_back(fmt::format("{}: lies in no layer", path));
    return findings;
  }
  std::int64_t line_number = 0;
  bool has_pragma_once = false;
  while (!text.empty()) {
    ++line_number;
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    has_pragma_once = has_pragma_once || line == "#pragma once";
    if (const std::optional<Include> include = parse_include(line)) {
      if (const std::optional<std::string> finding = check_include(path, *include)) {
        findings.push_back(fmt::format("{}:{}: {}", path, line_number, *finding));
      }
    }
  }
  const bool is_header = path.ends_with(".h") || path.ends_with(".cuh");
  if (is_header && !has_pragma_once) {
    findings.push_back(fmt::format("{}: has no #pragma once", path));
  }
  if (line_number > kMaxLines) {
    findings.push_back(
        fmt::format("{}: has {} lines; expected at most {}", path, line_number, kMaxLines));
  }
  return findings;
}

}  // namespace ghost::test
