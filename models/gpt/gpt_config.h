#pragma once

#include <cstdint>
#include <string>

#include "engine/autograd/parameter.h"
#include "engine/config/enum_names.h"
#include "ops/activation.h"

namespace ghost {

template <>
struct EnumNames<GeluForm> {
  static constexpr EnumName<GeluForm> kNames[] = {{GeluForm::kErf, "erf"},
                                                  {GeluForm::kTanh, "tanh"}};
};

enum class IntoResidualStream { kNo, kYes };
enum class GptInit { kGpt2, kFlax };

template <>
struct EnumNames<GptInit> {
  static constexpr EnumName<GptInit> kNames[] = {{GptInit::kGpt2, "gpt2"},
                                                 {GptInit::kFlax, "flax"}};
};

/// GPT-2 as in nanoGPT: pre-LayerNorm blocks, learned positions.
struct GptConfig {
  std::int64_t layers = 12;
  std::int64_t heads = 12;
  std::int64_t channels = 768;
  std::int64_t max_seq_len = 1024;
  std::int64_t vocab_size = 0;
  std::int64_t pad_vocab_to = 64;
  bool bias = true;
  bool tied_head = true;
  GeluForm gelu = GeluForm::kErf;
  double dropout = 0;
  double norm_eps = 1e-5;
  GptInit init = GptInit::kGpt2;

  template <typename Visit>
  void each_field(Visit&& visit) {
    visit("layers", layers, "blocks, > 0");
    visit("heads", heads, "attention heads a block; divides channels");
    visit("channels", channels, "width of the residual stream, > 0");
    visit("max_seq_len", max_seq_len, "rows of the position table, > 0");
    visit("vocab_size", vocab_size, "tokens; 0: as the tokenizer of the data says");
    visit("pad_vocab_to", pad_vocab_to, "the embedding has a multiple of this many rows, >= 1");
    visit("bias", bias, "biases in linears and norms");
    visit("tied_head", tied_head, "the output head is the token embedding");
    visit("gelu", gelu, "erf: exact, as nanoGPT; tanh: as GPT-2 and llm.c");
    visit("dropout", dropout, "share of elements dropped in training, 0 to 1");
    visit("norm_eps", norm_eps, "added to the variance in LayerNorm, > 0");
    visit("init", init, "gpt2: normal, std 0.02; flax: Flax's defaults, std 1/sqrt(fan_in)");
  }
  void validate(const std::string& prefix) const;

  /// How a linear's weight and an embedding start. gpt2: normal(0, 0.02), and projections onto the
  /// residual stream smaller by the root of their number. flax: a linear truncated normal with std
  /// 1/sqrt(fan_in) (lecun_normal), an embedding normal with std 1/sqrt(channels); no projection is
  /// scaled.
  Init linear_init(std::int64_t fan_in, IntoResidualStream into) const;
  Init embedding_init() const;

  std::int64_t padded_vocab_size() const {
    return (vocab_size + pad_vocab_to - 1) / pad_vocab_to * pad_vocab_to;
  }
};

}  // namespace ghost
