#pragma once

#include <functional>
#include <string>

#include "engine/autograd/context.h"
#include "tools/bench/kernel_rates.h"

namespace ghost {

enum class Bias { kNo, kYes };
enum class Sign { kBoth, kOfScale };

/// Times operations alone and collects their rates.
class KernelBench {
 public:
  KernelBench(const Device& device, DType dtype);

  Context& context() { return ctx_; }

  /// Normal numbers times `scale`.
  Tensor random(const Shape& shape, double scale = 1, Sign sign = Sign::kBoth);
  Tensor tokens(const Shape& shape, std::int64_t bound);

  /// Median over repetitions. A GPU runs several one after the other between two looks at the
  /// clock.
  double seconds(const std::function<void()>& run);

  struct Work {
    double flops = 0;
    double bytes = 0;
  };
  void add(const std::string& name, const std::function<void()>& run, const Work& work);
  /// Both directions of an op; inputs that carry no gradient are not among `inputs`.
  void add_op(const std::string& name, const Tensors& inputs,
              const std::function<Tensor(const Tensors&)>& op, const Work& forward,
              const Work& backward);
  /// A dense layer on x [..., N] to `out` columns.
  void add_linear(const std::string& name, const Shape& x, std::int64_t out, Bias bias);

  KernelRates rates;

 private:
  void wait();

  Context ctx_;
  DType dtype_;
  Tensor probe_;
  std::uint64_t seed_ = 0;
};

/// Adds the operations of a hybrid's layers, each kind of mixer once, for activations of
/// `item_bytes` bytes a number.
void measure_mixers(KernelBench& bench, const Config& config, double item_bytes);

}  // namespace ghost
