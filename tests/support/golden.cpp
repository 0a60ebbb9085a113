#include "tests/support/golden.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>

#include "tests/support/catch.h"
#include "tests/support/npy.h"
#include "tests/support/op_check.h"

namespace ghost::test {
namespace {

namespace fs = std::filesystem;

/// Some families name their arrays `tensors`, or list them with a role each: input "x" becomes
/// "input/x".
nlohmann::json with_arrays(nlohmann::json manifest) {
  if (manifest.contains("tensors") && manifest.at("tensors").is_object()) {
    manifest["arrays"] = manifest.at("tensors");
  } else if (manifest.contains("tensors")) {
    for (const nlohmann::json& facts : manifest.at("tensors")) {
      const std::string role = facts.at("role");
      manifest["arrays"][role + "/" + facts.at("name").get<std::string>()] = facts;
    }
  }
  return manifest;
}

nlohmann::json read_manifest(const fs::path& path) {
  std::ifstream in(path);
  return nlohmann::json::parse(in);
}

}  // namespace

GoldenCase::GoldenCase(fs::path directory, nlohmann::json manifest)
    : directory_(std::move(directory)),
      manifest_(with_arrays(std::move(manifest))),
      name_(manifest_.at(manifest_.contains("case") ? "case" : "name").get<std::string>()) {}

Tensor GoldenCase::array(const std::string& name) const {
  INFO("array " << name << " of " << directory_.string());
  REQUIRE(has(name));
  const NpyArray npy =
      read_npy(directory_ / manifest_.at("arrays").at(name).at("file").get<std::string>());
  const Shape shape(npy.shape);
  if (npy.dtype == "<i4") {
    const auto values = npy.as<std::int32_t>();
    return tokens_of(shape, {values.begin(), values.end()});
  }
  if (npy.dtype == "|i1") {
    const auto values = npy.as<std::int8_t>();
    return tokens_of(shape, {values.begin(), values.end()});
  }
  if (npy.dtype == "<u4") {
    const auto values = npy.as<std::uint32_t>();
    return tensor_of(shape, {values.begin(), values.end()});
  }
  const auto values = npy.as<double>();
  return tensor_of(shape, {values.begin(), values.end()});
}

std::vector<std::string> GoldenCase::names(const std::string& prefix) const {
  std::vector<std::string> out;
  for (const auto& [name, facts] : manifest_.at("arrays").items()) {
    if (name.starts_with(prefix)) {
      out.push_back(name.substr(prefix.size()));
    }
  }
  return out;
}

static std::vector<fs::path> manifests_of(const std::string& family) {
  const char* elsewhere = std::getenv("GHOSTGRAD_GOLDEN_DIR");
  const fs::path root =
      (elsewhere != nullptr ? fs::path(elsewhere) : fs::path(GHOST_SOURCE_DIR) / "tests/golden") /
      family;
  std::vector<fs::path> manifests;
  INFO("golden vectors in " << root.string());
  REQUIRE(fs::is_directory(root));
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.path().filename() == "manifest.json") {
      manifests.push_back(entry.path());
    }
  }
  std::sort(manifests.begin(), manifests.end());
  return manifests;
}

std::vector<nlohmann::json> golden_manifests(const std::string& family) {
  std::vector<nlohmann::json> out;
  for (const fs::path& path : manifests_of(family)) {
    out.push_back(read_manifest(path));
  }
  return out;
}

std::vector<GoldenCase> golden_cases(const std::string& family) {
  std::vector<GoldenCase> cases;
  for (const fs::path& path : manifests_of(family)) {
    nlohmann::json manifest = read_manifest(path);
    if (!manifest.contains("cases")) {
      cases.emplace_back(path.parent_path(), std::move(manifest));
      continue;
    }
    for (nlohmann::json& each : manifest.at("cases")) {
      if (each.is_string()) {
        continue;  // the name of a directory with a manifest of its own
      }
      cases.emplace_back(path.parent_path(), std::move(each));
    }
  }
  REQUIRE_FALSE(cases.empty());
  return cases;
}

GoldenErrors::~GoldenErrors() {
  for (const auto& [label, error] : largest_) {
    std::cout << "golden " << family_ << "  " << label << "  largest error " << error << '\n';
  }
}

void GoldenErrors::check(const std::string& label, const Tensor& got, const Tensor& expected,
                         double tolerance) {
  INFO(label);
  REQUIRE(got.numel() == expected.numel());
  const auto x = values_of(got);
  const auto y = values_of(expected);
  double difference = 0;
  double scale = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    REQUIRE(std::isfinite(x[i]));
    difference = std::max(difference, std::abs(x[i] - y[i]));
    scale = std::max(scale, std::abs(y[i]));
  }
  const double error = difference / std::max(scale, 1e-6);
  largest_[label] = std::max(largest_[label], error);
  CHECK(error <= tolerance);
}

}  // namespace ghost::test
