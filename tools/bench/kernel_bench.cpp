#include "tools/bench/kernel_bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "engine/tensor/host.h"
#include "engine/tensor/primitives.h"
#include "ops/linear.h"

namespace ghost {

KernelBench::KernelBench(const Device& device, DType dtype)
    : ctx_(device), dtype_(dtype), probe_(ctx_.zeros({1}, DType::kF32)) {}

Tensor KernelBench::random(const Shape& shape, double scale, Sign sign) {
  const Tensor host = Tensor(make_allocator(Device{}), shape, DType::kF32, MemoryTag::kWorkspace);
  const RandomStream stream{.seed = ++seed_, .purpose = Purpose::kBatch};
  float* values = host.data<float>();
  for (std::int64_t i = 0; i < host.numel(); i += 2) {
    // A table of draws is enough to keep numbers from repeating within a cache line or a tile.
    const auto words = stream.words(static_cast<std::uint32_t>(i / 2 % 65521));
    const auto pair = normal_pair(words[0], words[1]);
    const auto put = [&](std::int64_t at, double draw) {
      values[at] = static_cast<float>(scale * (sign == Sign::kBoth ? draw : std::abs(draw)));
    };
    put(i, pair[0]);
    if (i + 1 < host.numel()) {
      put(i + 1, pair[1]);
    }
  }
  const Tensor placed = to_device(host, ctx_.allocator(), MemoryTag::kWorkspace);
  if (dtype_ == DType::kF32) {
    return placed;
  }
  Tensor out = ctx_.empty(shape, dtype_);
  cast(out, placed);
  return out;
}

Tensor KernelBench::tokens(const Shape& shape, std::int64_t bound) {
  const Tensor host = Tensor(make_allocator(Device{}), shape, DType::kI32, MemoryTag::kWorkspace);
  for (std::int64_t i = 0; i < host.numel(); ++i) {
    host.data<std::int32_t>()[i] = static_cast<std::int32_t>(i * 7919 % bound);
  }
  return to_device(host, ctx_.allocator(), MemoryTag::kWorkspace);
}

double KernelBench::seconds(const std::function<void()>& run) {
  constexpr double kEnough = 0.1;
  constexpr int kFewest = 5;
  const int burst = ctx_.device().is_cuda() ? 10 : 1;
  run();
  wait();
  std::vector<double> times;
  double total = 0;
  while (total < kEnough || times.size() < kFewest) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < burst; ++i) {
      run();
    }
    wait();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    times.push_back(seconds / burst);
    total += seconds;
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void KernelBench::add(const std::string& name, const std::function<void()>& run, const Work& work) {
  rates.kernels.push_back(
      {.name = name, .seconds = seconds(run), .flops = work.flops, .bytes = work.bytes});
}

void KernelBench::add_op(const std::string& name, const Tensors& inputs,
                         const std::function<Tensor(const Tensors&)>& op, const Work& forward,
                         const Work& backward) {
  add(
      name, [&] { op(inputs); }, forward);
  Tape tape;
  Tensors watched;
  const Context::Recording recording(ctx_, &tape);
  for (const Tensor& input : inputs) {
    watched.push_back(tape.watch(input));
  }
  const Tensor y = op(watched);
  const Tensor dy = random(y.shape().with_first(1), 1e-3);
  Tensor seed = dy;
  if (y.dtype() != dy.dtype()) {
    seed = ctx_.empty(dy.shape(), y.dtype());
    cast(seed, dy);
  }
  add(
      name + " backward", [&] { tape.vjp(ctx_, std::span(&y, 1), std::span(&seed, 1), watched); },
      backward);
}

void KernelBench::add_linear(const std::string& name, const Shape& x, std::int64_t out, Bias bias) {
  const auto n = static_cast<double>(x.back());
  const auto m = static_cast<double>(out);
  const double rows = static_cast<double>(x.numel()) / n;
  const double flops = 2 * rows * n * m;
  const double bytes = static_cast<double>(itemsize(dtype_)) * (rows * (n + m) + n * m);
  Tensors inputs{random(x), random({out, x.back()}, 0.02)};
  if (bias == Bias::kYes) {
    inputs.push_back(random({out}));
  }
  add_op(name, inputs,
         [this](const Tensors& in) {
           return linear(ctx_, in[0], in[1], in.size() > 2 ? in[2] : Tensor{});
         },
         {.flops = flops, .bytes = bytes}, {.flops = 2 * flops, .bytes = 2 * bytes});
}

void KernelBench::wait() { item(probe_); }

}  // namespace ghost
