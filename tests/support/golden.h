#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/tensor/tensor.h"

namespace ghost::test {

/// One case of a family of golden vectors: the manifest's facts and its arrays. A manifest holds
/// `arrays` by name, or a list of `tensors`, which are then named "role/name".
class GoldenCase {
 public:
  GoldenCase(std::filesystem::path directory, nlohmann::json manifest);

  const std::string& name() const { return name_; }
  const nlohmann::json& manifest() const { return manifest_; }
  /// Of the manifest's `sizes`.
  std::int64_t size(const std::string& name) const { return manifest_.at("sizes").at(name); }
  bool has(const std::string& array) const { return manifest_.at("arrays").contains(array); }
  /// f64 arrays and 32-bit words as f64, other integer arrays as i32, on the CPU.
  Tensor array(const std::string& name) const;
  /// Names that begin with `prefix`, without it: "grad/" gives "transformer.wte.weight", ...
  std::vector<std::string> names(const std::string& prefix) const;

 private:
  std::filesystem::path directory_;
  nlohmann::json manifest_;
  std::string name_;
};

/// Every case of a family under tests/golden/FAMILY, or under the directory that
/// GHOSTGRAD_GOLDEN_DIR names. A family is a directory with one manifest.json, for one case or a
/// list of `cases`, or with one for each case in a directory of its own. Fails the test when there
/// is none.
std::vector<GoldenCase> golden_cases(const std::string& family);
/// The manifests themselves, for what stands beside the cases.
std::vector<nlohmann::json> golden_manifests(const std::string& family);

/// The largest error of every array over all cases; printed at the end of a golden test.
class GoldenErrors {
 public:
  explicit GoldenErrors(std::string family) : family_(std::move(family)) {}
  ~GoldenErrors();
  GoldenErrors(const GoldenErrors&) = delete;
  GoldenErrors& operator=(const GoldenErrors&) = delete;

  /// Checks max |got - expected| / max |expected| <= tolerance and notes it under `label`.
  void check(const std::string& label, const Tensor& got, const Tensor& expected, double tolerance);

 private:
  std::string family_;
  std::map<std::string, double> largest_;
};

}  // namespace ghost::test
