#pragma once

#include <map>
#include <string>

#include "engine/autograd/context.h"
#include "tools/run/run_config.h"

namespace ghost {

/// Of a list of dense products.
double gemm_flops(const GemmCounts& gemms);

/// What one optimizer step of a config will hold, found by running it on a dry device: the same
/// code as a real step, without memory or kernels.
struct MemoryPlan {
  BytesPerTag peak{};           // of each tag on its own
  BytesPerTag at_total_peak{};  // when the sum was highest
  std::int64_t total_peak = 0;
  std::int64_t kept_peak = 0;  // residuals and sketches together
  /// Residuals after forward, bytes a token and block (their mean), by role: "norm_input", ...
  std::map<std::string, double> block_bytes_per_token;
  std::int64_t block_sketch_bytes = 0;  // sketches of a block (their mean) after forward
  GemmCounts gemms;                     // dense products of the step

  /// Sum over the roles; statistics (means, log-sum-exps) apart.
  double block_bytes(bool with_statistics) const;
  /// Of the dense products as run, recomputation included.
  double gemm_flops() const { return ghost::gemm_flops(gemms); }
};

MemoryPlan plan_memory(const Config& config, const DataFacts& data);

}  // namespace ghost
