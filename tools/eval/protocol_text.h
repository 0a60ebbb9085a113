#pragma once

#include <string>

#include "tools/eval/protocol_result.h"

namespace ghost {

/// The result as lines for people: a table of scores, the largest effect of a later token, losses
/// by position.
std::string protocol_text(const ProtocolResult& result);

/// What flip found, in one line: "0.532: token 63 changes a logit at position 12; 8 tokens of 4
/// windows".
std::string flip_text(const FlipResult& flip);

/// Variant and ablation: "paper", "paper, zero_all".
/// Empty for a model without regions.
std::string variant_text(const ProtocolResult& result);

}  // namespace ghost
