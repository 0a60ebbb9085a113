#include "ops/cuda/chunked/launch.cuh"
#include "ops/cuda/chunked/ssd_pass.h"

namespace ghost::cuda {
namespace {

template <typename Args>
void run(const Context& ctx, const Args& args) {
  const DeviceLaunch launch(ctx);
  visit_chunked_dtype(args.in.xbc.dtype(), "ssd", [&]<typename T>() { ssd_pass<T>(launch, args); });
}

}  // namespace

void ssd(const Context& ctx, const SsdForward& args) { run(ctx, args); }
void ssd(const Context& ctx, const SsdBackward& args) { run(ctx, args); }

}  // namespace ghost::cuda
