#include "ops/cuda/row_norm.cuh"
#include "ops/layer_norm_kernels.h"

namespace ghost::cuda {

void layer_norm(const LayerNormForward& args) {
  const std::int64_t cols = args.x.dim(-1);
  check_norm_channels("layer_norm", cols);
  visit_gpu_real(args.x.dtype(), "layer_norm", [&]<typename T>() {
    launch_norm</*kCentred=*/true>(args.x,
                                   NormForward<T>{.x = elements<T>(args.x),
                                                  .gain = elements<T>(args.gain),
                                                  .bias = elements<T>(args.bias),
                                                  .y = elements<T>(args.y),
                                                  .mean = elements<float>(args.mean),
                                                  .rstd = elements<float>(args.rstd),
                                                  .normalized = elements<T>(args.normalized),
                                                  .rows = args.x.numel() / cols,
                                                  .cols = cols,
                                                  .eps = static_cast<float>(args.eps)});
  });
}

void layer_norm(const LayerNormApply& args) {
  const std::int64_t cols = args.x.dim(-1);
  const bool is_normalized = !args.mean.defined();
  visit_gpu_real(args.x.dtype(), "layer_norm", [&]<typename T>() {
    launch_norm(args.x, NormApply<T>{.x = elements<T>(args.x),
                                     .gain = elements<T>(args.gain),
                                     .bias = elements<T>(args.bias),
                                     .mean = elements<float>(args.mean),
                                     .rstd = is_normalized ? nullptr : elements<float>(args.rstd),
                                     .y = elements<T>(args.y),
                                     .rows = args.x.numel() / cols,
                                     .cols = cols});
  });
}

void layer_norm(const LayerNormBackward& args) {
  const std::int64_t cols = args.x.dim(-1);
  check_norm_channels("layer_norm", cols);
  const Tensor& partial = args.dgain.defined() ? args.dgain_partial : args.dbias_partial;
  visit_gpu_real(args.x.dtype(), "layer_norm", [&]<typename T>() {
    launch_norm</*kCentred=*/true>(
        args.x,
        NormBackward<T>{.x = elements<T>(args.x),
                        .gain = elements<T>(args.gain),
                        .mean = elements<float>(args.mean),
                        .rstd = elements<float>(args.rstd),
                        .is_normalized = !args.mean.defined(),
                        .dy = elements<T>(args.dy),
                        .dx = elements<T>(args.dx),
                        .dgain_partial = elements<float>(args.dgain_partial),
                        .dbias_partial = elements<float>(args.dbias_partial),
                        .rows = args.x.numel() / cols,
                        .cols = cols,
                        .basis = args.dy.dim(0)},
        partial.defined() ? partial.dim(0) : 0);
  });
  if (args.dgain.defined()) {
    add_parts(args.dgain_partial, args.dgain, args.accumulate_dgain);
  }
  if (args.dbias.defined()) {
    add_parts(args.dbias_partial, args.dbias, args.accumulate_dbias);
  }
}

}  // namespace ghost::cuda
