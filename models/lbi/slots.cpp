#include "models/lbi/slots.h"

#include <algorithm>

#include "engine/core/error.h"

namespace ghost {
namespace {

/// Slots of the chunks that end within the sequence.
Slots chunk_slots(const RegionsConfig& config, std::int64_t seq_len) {
  const bool is_anchored = config.variant == RegionsVariant::kMultiAnchor;
  Slots slots;
  for (std::int64_t end = config.chunk; end <= seq_len; end += config.chunk) {
    const std::int64_t next = std::min(end + config.chunk, seq_len);
    if (is_anchored) {  // from one chunk's last position to before the next one's
      slots.pools.push_back({end - 1, end});
      slots.conditions.push_back({end - 1, std::min(end + config.chunk - 1, seq_len)});
    } else if (end < seq_len) {  // the last chunk has none to condition
      slots.pools.push_back({end - config.chunk, end});
      slots.conditions.push_back({end, next});
    }
  }
  return slots;
}

}  // namespace

Slots text_slots(const RegionsConfig& config, std::int64_t seq_len, std::int64_t prompt) {
  switch (config.variant) {
    case RegionsVariant::kPaper:
    case RegionsVariant::kPrefixLm:
      return {.pools = {{0, prompt}}, .conditions = {{0, seq_len}}, .first_scored = prompt - 1};
    case RegionsVariant::kAnchor:
      if (seq_len <= config.anchor) {
        return {};
      }
      return {.pools = {{config.anchor, config.anchor + 1}},
              .conditions = {{config.anchor, seq_len}}};
    case RegionsVariant::kChunked:
    case RegionsVariant::kMultiAnchor:
      return chunk_slots(config, seq_len);
  }
  fail("a variant of regions without slots");
}

Slots training_slots(const RegionsConfig& config, std::int64_t seq_len) {
  const auto refuse = [&](std::string_view key, std::int64_t value, std::string_view expected) {
    fail<ConfigError>("model.regions.{} is {}; expected {} the {} tokens of a sequence", key, value,
                      expected, seq_len);
  };
  switch (config.variant) {
    case RegionsVariant::kPaper: {
      Slots slots = text_slots(config, seq_len, seq_len);
      slots.first_scored = 0;  // as published, positions that see their own targets included
      return slots;
    }
    case RegionsVariant::kPrefixLm:
      if (config.prefix > seq_len) {
        refuse("prefix", config.prefix, "at most");
      }
      return text_slots(config, seq_len, config.prefix);
    case RegionsVariant::kAnchor:
      if (config.anchor >= seq_len) {
        refuse("anchor", config.anchor, "a position within");
      }
      break;
    case RegionsVariant::kChunked:
      if (config.chunk >= seq_len) {
        refuse("chunk", config.chunk, "less than");
      }
      break;
    case RegionsVariant::kMultiAnchor:
      if (config.chunk > seq_len) {
        refuse("chunk", config.chunk, "at most");
      }
      break;
  }
  return text_slots(config, seq_len, seq_len);
}

}  // namespace ghost
