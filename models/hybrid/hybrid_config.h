#pragma once

#include <cstdint>
#include <string>

#include "models/attention/attention_config.h"
#include "models/hybrid/layer_types.h"
#include "models/mamba2/mamba2_config.h"
#include "models/mamba3/mamba3_config.h"

namespace ghost {

/// A language model of Mamba-2, Mamba-3 and attention blocks in any order.
struct HybridConfig {
  std::int64_t layers = 24;
  std::int64_t channels = 768;
  LayerTypes layer_types{{LayerType::kMamba2}};
  std::int64_t vocab_size = 0;
  std::int64_t pad_vocab_to = 16;
  bool tied_head = true;
  double norm_eps = 1e-5;
  double embedding_std = 0.02;
  bool residual_in_f32 = false;
  bool rescale_out_proj = true;
  bool decay_all = false;
  Mamba2Config mamba2;
  Mamba3Config mamba3;
  AttentionConfig attention;

  /// The keys that all of these models have; those of the mixers are sections of their own.
  template <typename Visit>
  void each_shared_field(Visit&& visit) {
    visit("layers", layers, "blocks, > 0");
    visit("channels", channels, "width of the residual stream, > 0");
    visit("vocab_size", vocab_size, "tokens; 0: as the tokenizer of the data says");
    visit("pad_vocab_to", pad_vocab_to, "the embedding has a multiple of this many rows, >= 1");
    visit("tied_head", tied_head, "the output head is the token embedding");
    visit("norm_eps", norm_eps, "added to the mean of squares in norms, > 0");
    visit("embedding_std", embedding_std, "of the initial embedding, > 0");
    visit("residual_in_f32", residual_in_f32,
          "the residual stream stays in f32 where activations are bf16, as in mamba_ssm");
    visit("rescale_out_proj", rescale_out_proj,
          "projections onto the residual stream start smaller by sqrt(layers), as in mamba_ssm; "
          "LBI does not");
    visit("decay_all", decay_all, "weight decay for norms, biases and SSM parameters too, as LBI");
  }
  void validate(const std::string& prefix) const;

  std::int64_t padded_vocab_size() const {
    return (vocab_size + pad_vocab_to - 1) / pad_vocab_to * pad_vocab_to;
  }
};

}  // namespace ghost
