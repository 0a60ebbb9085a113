#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ghost {

enum class SamplerKind {
  kRandom,      // uniformly random starts, as nanoGPT
  kShuffled,    // each window once an epoch; shards, and windows inside a shard, in random order
  kSequential,  // window after window through the stream, again from the start at its end
  kStream,      // the same with windows of seq_len + 1 tokens of their own: none is shared
};

/// What a sampler must know of a data set.
struct SampledStream {
  std::string name = "data";               // for messages
  std::vector<std::int64_t> shard_tokens;  // tokens of each shard, in order
  std::int64_t seq_len = 0;                // T: a window is T inputs and the target of the last one
  std::uint64_t seed = 0;
};

/// Where the windows of a run begin: a pure function of the number of the sequence, counted over
/// all steps, micro-steps, ranks and rows of a run. Nothing is stored between calls but what speeds
/// them up, so a run continues at any step at no cost and on any number of replicas.
class WindowSampler {
 public:
  virtual ~WindowSampler() = default;

  /// First token of the window, as an index into the whole stream; `sequence` >= 0.
  virtual std::int64_t start(std::int64_t sequence) const = 0;

  /// Windows in one epoch; for random starts, as many as fit without overlap.
  virtual std::int64_t windows_per_epoch() const = 0;
};

/// Throws ghost::Error when the stream holds no window of seq_len + 1 tokens.
std::unique_ptr<WindowSampler> make_sampler(SamplerKind kind, const SampledStream& stream);

}  // namespace ghost
