#include "ops/cuda/chunked/launch.cuh"
#include "ops/cuda/chunked/mamba3_pass.h"

namespace ghost::cuda {
namespace {

template <typename Args>
void run(const Context& ctx, const Args& args) {
  const DeviceLaunch launch(ctx);
  visit_chunked_dtype(args.in.v.dtype(), "mamba3_core",
                      [&]<typename T>() { mamba3_pass<T>(launch, args); });
}

}  // namespace

void mamba3_core(const Context& ctx, const Mamba3CoreForward& args) { run(ctx, args); }
void mamba3_core(const Context& ctx, const Mamba3CoreBackward& args) { run(ctx, args); }

}  // namespace ghost::cuda
