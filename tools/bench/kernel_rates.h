#pragma once

#include <string>
#include <vector>

#include "tools/run/run_config.h"

namespace ghost {

/// One operation alone, on the shapes of a config's model.
struct KernelRate {
  std::string name;
  double seconds = 0;  // median
  double flops = 0;    // of its matrix products; 0: it has none, memory bounds it
  double bytes = 0;    // that it must read and write at least
};

/// What the device can do.
struct Ceilings {
  double copy_bytes_per_s = 0;  // read and written, of a copy far larger than the caches
  double gemm_flops_per_s = 0;  // of a large square product in the dtype of activations
};

/// `dtype`: of activations. Throws ghost::Error for f64.
Ceilings measure_ceilings(const Device& device, DType dtype);

/// What the device can do, and what each operation does, all measured in one go.
struct KernelRates {
  Ceilings ceilings;
  std::vector<KernelRate> kernels;
};

/// Times forward and backward of every operation of a block, head, optimizer, sketches and packing
/// on random numbers. Backward is all gradients of its inputs.
KernelRates measure_kernel_rates(const Config& config, std::int64_t vocab_size,
                                 const Device& device);

}  // namespace ghost
