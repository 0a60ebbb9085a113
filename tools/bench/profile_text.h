#pragma once

#include <nlohmann/json.hpp>

#include "tools/bench/kernel_rates.h"
#include "tools/bench/step_profile.h"

namespace ghost {

/// A profile of `steps` steps of `step_seconds` each, and what the device could do.
struct ProfileReport {
  /// Measures the products, of operands of `dtype`, alone where they run on the CPU.
  ProfileReport(const StepProfile::Entries& entries, const Ceilings& ceilings, const Device& device,
                DType dtype, double step_seconds, std::int64_t steps);

  /// One kind of work in a mean step.
  struct Line {
    ProfileKey key;
    std::int64_t calls = 0;
    double seconds = 0;
    double bytes = 0;
    double flops = 0;         // of counted products
    double gemm_seconds = 0;  // that these take alone; 0 on a GPU
  };

  Ceilings ceilings;
  double step_seconds = 0;
  double rest_seconds = 0;  // of no line
  std::vector<Line> lines;  // the longest first
};

void print_profile(const ProfileReport& report);

/// The same numbers: bytes, and milliseconds of a step.
nlohmann::ordered_json facts_of(const ProfileReport& report);

}  // namespace ghost
