#include "ops/cuda/row_norm.cuh"
#include "ops/rms_norm_kernels.h"

namespace ghost::cuda {

void rms_norm(const RmsNormForward& args) {
  const std::int64_t cols = args.x.dim(-1);
  check_norm_channels("rms_norm", cols);
  visit_gpu_real(args.x.dtype(), "rms_norm", [&]<typename T>() {
    launch_norm</*kCentred=*/false>(args.x,
                                    NormForward<T>{.x = elements<T>(args.x),
                                                   .gain = elements<T>(args.gain),
                                                   .bias = nullptr,
                                                   .y = elements<T>(args.y),
                                                   .mean = nullptr,
                                                   .rstd = elements<float>(args.rstd),
                                                   .normalized = elements<T>(args.normalized),
                                                   .rows = args.x.numel() / cols,
                                                   .cols = cols,
                                                   .eps = static_cast<float>(args.eps)});
  });
}

void rms_norm(const RmsNormApply& args) {
  const std::int64_t cols = args.x.dim(-1);
  visit_gpu_real(args.x.dtype(), "rms_norm", [&]<typename T>() {
    launch_norm(args.x,
                NormApply<T>{.x = elements<T>(args.x),
                             .gain = elements<T>(args.gain),
                             .bias = nullptr,
                             .mean = nullptr,
                             .rstd = args.is_normalized ? nullptr : elements<float>(args.rstd),
                             .y = elements<T>(args.y),
                             .rows = args.x.numel() / cols,
                             .cols = cols});
  });
}

void rms_norm(const RmsNormBackward& args) {
  const std::int64_t cols = args.x.dim(-1);
  check_norm_channels("rms_norm", cols);
  visit_gpu_real(args.x.dtype(), "rms_norm", [&]<typename T>() {
    launch_norm</*kCentred=*/false>(
        args.x,
        NormBackward<T>{.x = elements<T>(args.x),
                        .gain = elements<T>(args.gain),
                        .mean = nullptr,
                        .rstd = elements<float>(args.rstd),
                        .is_normalized = args.is_normalized,
                        .dy = elements<T>(args.dy),
                        .dx = elements<T>(args.dx),
                        .dgain_partial = elements<float>(args.dgain_partial),
                        .dbias_partial = nullptr,
                        .rows = args.x.numel() / cols,
                        .cols = cols,
                        .basis = args.dy.dim(0)},
        args.dgain.defined() ? args.dgain_partial.dim(0) : 0);
  });
  if (args.dgain.defined()) {
    add_parts(args.dgain_partial, args.dgain, args.accumulate_dgain);
  }
}

}  // namespace ghost::cuda
