#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/config/enum_names.h"
#include "tools/eval/protocol_result.h"
#include "tools/run/loaded_run.h"

namespace ghost {

// Scores that tell what a model predicts from what it has read. A model of regions whose states
// pool the whole window has, at every position but the last, seen the token that it is scored on.

enum class ProtocolPart {
  kTf,    // full windows, every position that training scores
  kLast,  // their last position: no input holds its target
  kAr,    // states of the text so far, made again every `refresh` tokens
  kPos,   // the same by position
  kFlip,  // largest change of a logit by a later token
  kGap,   // ar - tf on the same positions
};

template <>
struct EnumNames<ProtocolPart> {
  static constexpr EnumName<ProtocolPart> kNames[] = {
      {ProtocolPart::kTf, "tf"},   {ProtocolPart::kLast, "last"}, {ProtocolPart::kAr, "ar"},
      {ProtocolPart::kPos, "pos"}, {ProtocolPart::kFlip, "flip"}, {ProtocolPart::kGap, "gap"}};
};

struct ProtocolOptions {
  std::string parts;              // "tf,last,flip", or all
  std::int64_t refresh = 0;       // tokens between new states; 0: a sixteenth of a window
  std::int64_t max_batches = 0;   // 0: the whole split
  LoadedRun* baseline = nullptr;  // scored on the same windows and positions
};

/// Scores `run` on data.val in windows of its train.seq_len, which are the same for every run of
/// that length. Standard errors take windows as independent.
/// Throws ghost::ConfigError for an unknown part, for ar and gap of a model without regions, for
/// windows that are too short, and for a baseline that reads other tokens; ghost::Error when a
/// score is not finite.
ProtocolResult run_protocol(LoadedRun& run, const ProtocolOptions& options);

}  // namespace ghost
