#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/autograd/context.h"
#include "models/model_config.h"

namespace ghost::test {

/// A small model in f64 with weights large enough for every path to matter, and a batch for it.
struct TinyLanguageModel {
  explicit TinyLanguageModel(const ModelConfig& config, std::int64_t batch = 2,
                             std::int64_t seq_len = 5);

  double loss();
  /// Gradients of all parameters, one after the other.
  std::vector<double> gradients(const ResidualsConfig& residuals, std::int64_t step = 0);
  /// Logits [B, T, V] of a text.
  Tensor logits(const Tensor& text) { return model->logits(ctx, text); }

  Context ctx;
  std::unique_ptr<LanguageModel> model;
  Tensor tokens;   // [B, T]
  Tensor targets;  // [B, T]
};

struct NamedModel {
  std::string name;
  ModelConfig config;
};
/// Every kind of mixer, with options and odd sizes: two or three blocks of a few channels, chunks
/// of two or three tokens.
std::vector<NamedModel> tiny_models();

}  // namespace ghost::test
