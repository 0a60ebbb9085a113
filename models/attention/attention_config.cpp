#include "models/attention/attention_config.h"

#include <cmath>

#include "engine/config/check_range.h"

namespace ghost {

void AttentionConfig::validate(const std::string& prefix) const {
  check_range(heads > 0, prefix + "heads", heads, "a positive integer");
  check_range(kv_heads >= 0 && (kv_heads == 0 || heads % kv_heads == 0), prefix + "kv_heads",
              kv_heads, fmt::format("a divisor of heads {}, or 0", heads));
  check_range(head_dim >= 0, prefix + "head_dim", head_dim, "a positive integer, or 0");
  check_range(conv == 0 || conv >= 2, prefix + "conv", conv, "at least 2, or 0");
  check_range(rope_base > 0, prefix + "rope_base", rope_base, "a positive number");
  check_range(rope_fraction >= 0 && rope_fraction <= 1, prefix + "rope_fraction", rope_fraction,
              "0 to 1");
  check_range(mlp >= 0, prefix + "mlp", mlp, "a positive integer, or 0");
}

void AttentionConfig::validate_for(std::int64_t channels, const std::string& prefix) const {
  check_range(head_dim > 0 || channels % heads == 0, prefix + "heads", heads,
              fmt::format("a divisor of channels {} where head_dim is 0", channels));
  const auto turned = std::llround(rope_fraction * static_cast<double>(shape(channels).head_dim));
  check_range(turned % 2 == 0, prefix + "rope_fraction", rope_fraction,
              fmt::format("an even number of the {} channels of a head", shape(channels).head_dim));
}

}  // namespace ghost
