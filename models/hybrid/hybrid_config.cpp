#include "models/hybrid/hybrid_config.h"

#include "engine/config/check_range.h"

namespace ghost {

void HybridConfig::validate(const std::string& prefix) const {
  check_range(layers > 0, prefix + "layers", layers, "a positive integer");
  check_range(channels > 0, prefix + "channels", channels, "a positive integer");
  check_range(vocab_size >= 0, prefix + "vocab_size", vocab_size, "a positive integer, or 0");
  check_range(pad_vocab_to > 0, prefix + "pad_vocab_to", pad_vocab_to, "a positive integer");
  check_range(norm_eps > 0, prefix + "norm_eps", norm_eps, "a positive number");
  check_range(embedding_std > 0, prefix + "embedding_std", embedding_std, "a positive number");
  for (const LayerType type : layer_types.pattern) {
    switch (type) {
      case LayerType::kMamba2:
        mamba2.validate_for(channels, prefix + "mamba2.");
        break;
      case LayerType::kMamba3:
        mamba3.validate_for(channels, prefix + "mamba3.");
        break;
      case LayerType::kAttention:
        attention.validate_for(channels, prefix + "attention.");
        break;
    }
  }
}

}  // namespace ghost
