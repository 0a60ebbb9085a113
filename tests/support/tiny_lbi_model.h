#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/lbi/lbi_model.h"

namespace ghost::test {

/// A small model of regions in f64 whose weights are large enough for every path to matter, and a
/// batch for it.
struct TinyLbiModel {
  TinyLbiModel(const RegionsConfig& config, std::unique_ptr<LayeredModel> layers,
               std::int64_t batch = 2, std::int64_t seq_len = 7);

  double loss();
  /// Gradients of all parameters, one after the other.
  std::vector<double> gradients(const ResidualsConfig& residuals = {});

  Context ctx;
  LbiModel model;
  Tensor tokens;   // [B, T]
  Tensor targets;  // [B, T]
};

/// Starts the values that are here: fresh ones, moved far enough for every path to matter.
void fill_tiny_values(ParameterStore& parameters);

struct NamedLayers {
  std::string name;
  std::unique_ptr<LayeredModel> (*make)();
};
/// Five layers each of GPT, Mamba-2, Mamba-3, and of both with attention; odd sizes.
std::vector<NamedLayers> tiny_layers();

/// The GPT among them with its embedding as head.
std::unique_ptr<LayeredModel> tiny_tied_gpt();
/// The GPT among them, dropping a third of its elements.
std::unique_ptr<LayeredModel> tiny_gpt_with_dropout();

/// A configuration of every variant for sequences of seven tokens: three regions of five layers,
/// states of three numbers.
std::vector<RegionsConfig> tiny_regions();

/// max |a - b| / max |b|
double relative_difference(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace ghost::test
