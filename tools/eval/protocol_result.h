#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace ghost {

/// A mean over windows in nats and its standard error, both NaN where nothing was measured.
struct Estimate {
  double mean = 0;
  double standard_error = 0;
};

/// One score of the evaluation protocol.
struct ProtocolScore {
  std::string name;   // tf, last, ar or gap
  std::string label;  // what it means for this model
  Estimate nats;
  std::int64_t tokens = 0;             // scored, all windows together
  std::optional<Estimate> baseline;    // of the other run on the same tokens
  std::optional<Estimate> difference;  // to it, window by window
};

/// Cross-entropy by position, a mean over windows; NaN where a position is not scored.
struct PositionCurve {
  std::string name;  // tf, ar or baseline
  std::vector<double> nats;
};

/// What changing one token does to logits before it.
struct FlipResult {
  double largest = 0;           // change of a logit
  std::int64_t changed = 0;     // the token that did it
  std::int64_t position = 0;    // where the logit is
  std::int64_t num_tokens = 0;  // that were changed, one at a time, in each of num_windows
  std::int64_t num_windows = 0;
};

/// What the evaluation protocol found of a run: protocol.json of its directory.
struct ProtocolResult {
  std::string weights;
  std::string architecture;
  std::string variant;   // of the regions; empty for a model without
  std::string ablation;  // likewise
  std::string dtype;
  std::string baseline;  // weights of the other run; may be empty
  std::int64_t step = 0;
  std::int64_t seq_len = 0;
  std::int64_t windows = 0;
  std::int64_t first_scored = 0;  // position
  std::int64_t refresh = 0;       // tokens between states of ar and gap; 0 without
  bool sees_future = false;
  std::vector<ProtocolScore> scores;
  std::vector<PositionCurve> curves;
  std::optional<FlipResult> flip;
};

nlohmann::ordered_json to_json(const ProtocolResult& result);

/// Throws ghost::Error naming the file when it cannot be read or is no result of the protocol.
ProtocolResult read_protocol(const std::filesystem::path& file);

}  // namespace ghost
