#include <algorithm>
#include <vector>

#include "ops/causal_conv1d_kernels.h"
#include "ops/cpu/column_sums.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/stored_rows.h"
#include "ops/cpu/vector_math.h"

namespace ghost::cpu {
namespace {

/// The tokens of one batch entry, those of the state before them.
template <typename T>
struct Tokens {
  const T* x;      // [T, C]
  const T* state;  // [K-1, C] or null
  std::int64_t channels;
  std::int64_t before;  // K-1

  Tokens(const Tensor& all, const Tensor& states, std::int64_t taps, std::int64_t batch)
      : x(all.data<T>() + batch * all.dim(1) * all.dim(2)),
        state(states.defined() ? states.data<T>() + batch * (taps - 1) * all.dim(2) : nullptr),
        channels(all.dim(2)),
        before(taps - 1) {}

  /// Token t >= -(K-1); null where it is zero.
  const T* operator[](std::int64_t t) const {
    if (t >= 0) {
      return x + t * channels;
    }
    return state == nullptr ? nullptr : state + (before + t) * channels;
  }
};

/// [K, C] of [C, K]: loops run over channels.
template <typename T>
std::vector<RealOf<T>> taps_first(const Tensor& weight) {
  const std::int64_t channels = weight.dim(0);
  const std::int64_t taps = weight.dim(-1);
  std::vector<RealOf<T>> out(static_cast<std::size_t>(channels * taps));
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t k = 0; k < taps; ++k) {
      out[static_cast<std::size_t>(k * channels + c)] = widen(weight.data<T>()[c * taps + k]);
    }
  }
  return out;
}

/// The bias, or zeros where there is none.
template <typename T>
std::vector<RealOf<T>> bias_of(const Tensor& bias, std::int64_t channels) {
  std::vector<RealOf<T>> out(static_cast<std::size_t>(channels), 0);
  if (bias.defined()) {
    std::transform(bias.data<T>(), bias.data<T>() + channels, out.begin(), widen<T>);
  }
  return out;
}

template <typename Real, typename T>
void add_product(const Real* a, const T* b, Real* sum, std::int64_t n) {
#pragma omp simd
  for (std::int64_t i = 0; i < n; ++i) {
    sum[i] += a[i] * widen(b[i]);
  }
}

// One token of the convolution, before silu.
template <typename T>
void linear_row(const Tokens<T>& tokens, std::int64_t t, const RealOf<T>* weight,
                const RealOf<T>* bias, RealOf<T>* out) {
  const std::int64_t channels = tokens.channels;
  std::copy_n(bias, channels, out);
  for (std::int64_t k = 0; k <= tokens.before; ++k) {
    if (const T* x = tokens[t - tokens.before + k]) {
      add_product(weight + k * channels, x, out, channels);
    }
  }
}

template <typename T>
void forward(const CausalConv1dForward& args) {
  using Real = RealOf<T>;
  const std::int64_t batch = args.x.dim(0);
  const std::int64_t seq_len = args.x.dim(1);
  const std::int64_t channels = args.x.dim(2);
  const std::int64_t taps = args.weight.dim(-1);
  const std::vector<Real> weight = taps_first<T>(args.weight);
  const std::vector<Real> bias = bias_of<T>(args.bias, channels);
#pragma omp parallel if (args.x.numel() > kParallelElements)
  {
    std::vector<Real> linear(static_cast<std::size_t>(channels));
#pragma omp for schedule(static) collapse(2)
    for (std::int64_t b = 0; b < batch; ++b) {
      for (std::int64_t t = 0; t < seq_len; ++t) {
        Real* l = linear.data();
        T* y = args.y.data<T>() + (b * seq_len + t) * channels;
        linear_row(Tokens<T>(args.x, args.state, taps, b), t, weight.data(), bias.data(), l);
        if (!args.has_silu) {
          put_row(l, y, channels);
          continue;
        }
#pragma omp simd
        for (std::int64_t c = 0; c < channels; ++c) {
          put(y[c], vector_silu(l[c]));
        }
      }
    }
  }
}

// dlinear = dy * silu'(l) with l computed again, once for all cotangents.
template <typename T>
void through_silu(const CausalConv1dBackward& args, const RealOf<T>* weight) {
  using Real = RealOf<T>;
  const std::int64_t batch = args.x.dim(0);
  const std::int64_t seq_len = args.x.dim(1);
  const std::int64_t channels = args.x.dim(2);
  const std::int64_t basis = args.dy.dim(0);
  const std::vector<Real> bias = bias_of<T>(args.bias, channels);
#pragma omp parallel if (args.dy.numel() > kParallelElements)
  {
    std::vector<Real> slope(static_cast<std::size_t>(channels));
#pragma omp for schedule(static) collapse(2)
    for (std::int64_t b = 0; b < batch; ++b) {
      for (std::int64_t t = 0; t < seq_len; ++t) {
        Real* f = slope.data();
        linear_row(Tokens<T>(args.x, args.state, args.weight.dim(-1), b), t, weight, bias.data(),
                   f);
#pragma omp simd
        for (std::int64_t c = 0; c < channels; ++c) {
          f[c] = silu_derivative(f[c], vector_sigmoid(f[c]));
        }
        for (std::int64_t p = 0; p < basis; ++p) {
          const std::int64_t at = ((p * batch + b) * seq_len + t) * channels;
          const T* dy = args.dy.data<T>() + at;
          T* dlinear = args.dlinear.data<T>() + at;
#pragma omp simd
          for (std::int64_t c = 0; c < channels; ++c) {
            put(dlinear[c], widen(dy[c]) * f[c]);
          }
        }
      }
    }
  }
}

// Tokens of x, or of the state before them: position t is x[t - before].
template <typename T>
void input_cotangents(const CausalConv1dBackward& args, const RealOf<T>* weight) {
  using Real = RealOf<T>;
  const std::int64_t seq_len = args.x.dim(1);
  const std::int64_t channels = args.x.dim(2);
  const std::int64_t before = args.weight.dim(-1) - 1;
  const std::int64_t rows = args.dy.dim(0) * args.x.dim(0);
#pragma omp parallel if (args.dy.numel() > kParallelElements)
  {
    std::vector<Real> sums(static_cast<std::size_t>(channels));
#pragma omp for schedule(static) collapse(2)
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t t = 0; t < before + seq_len; ++t) {
        const Tensor& tensor = t < before ? args.dstate : args.dx;
        if (!tensor.defined()) {
          continue;
        }
        std::fill(sums.begin(), sums.end(), Real{0});
        for (std::int64_t k = 0; k <= before; ++k) {
          if (t - k >= 0 && t - k < seq_len) {
            add_product(weight + k * channels,
                        args.dlinear.data<T>() + (row * seq_len + t - k) * channels, sums.data(),
                        channels);
          }
        }
        const std::int64_t to = t < before ? row * before + t : row * seq_len + t - before;
        put_row(sums.data(), tensor.data<T>() + to * channels, channels);
      }
    }
  }
}

// Threads own channels, so the order of summation does not depend on their number.
template <typename T>
void weight_gradient(const CausalConv1dBackward& args) {
  using Real = RealOf<T>;
  constexpr std::int64_t kColumns = 64;
  const std::int64_t batch = args.x.dim(0);
  const std::int64_t seq_len = args.x.dim(1);
  const std::int64_t channels = args.x.dim(2);
  const std::int64_t taps = args.weight.dim(-1);
#pragma omp parallel if (args.x.numel() > kParallelElements)
  {
    std::vector<Real> sums(static_cast<std::size_t>(taps * kColumns));
    Real g[kColumns];
#pragma omp for schedule(static)
    for (std::int64_t begin = 0; begin < channels; begin += kColumns) {
      const std::int64_t count = std::min(kColumns, channels - begin);
      std::fill(sums.begin(), sums.end(), Real{0});
      for (std::int64_t b = 0; b < batch; ++b) {
        const Tokens<T> tokens(args.x, args.state, taps, b);
        for (std::int64_t t = 0; t < seq_len; ++t) {
          const T* dlinear = args.dlinear.data<T>() + (b * seq_len + t) * channels + begin;
          std::transform(dlinear, dlinear + count, g, widen<T>);
          for (std::int64_t k = 0; k < taps; ++k) {
            if (const T* x = tokens[t - (taps - 1) + k]) {
              add_product(g, x + begin, sums.data() + k * kColumns, count);
            }
          }
        }
      }
      for (std::int64_t c = 0; c < count; ++c) {
        Real* out = args.dweight.data<Real>() + (begin + c) * taps;
        for (std::int64_t k = 0; k < taps; ++k) {
          const Real sum = sums[static_cast<std::size_t>(k * kColumns + c)];
          out[k] = args.accumulate_dweight ? out[k] + sum : sum;
        }
      }
    }
  }
}

template <typename T>
void backward(const CausalConv1dBackward& args) {
  const std::vector<RealOf<T>> weight = taps_first<T>(args.weight);
  if (args.has_silu) {
    through_silu<T>(args, weight.data());
  }
  if (args.dx.defined() || args.dstate.defined()) {
    input_cotangents<T>(args, weight.data());
  }
  if (args.dweight.defined()) {
    weight_gradient<T>(args);
  }
  if (args.dbias.defined()) {
    const std::int64_t channels = args.x.dim(2);
    column_sums(args.dlinear.data<T>(), args.dlinear.numel() / channels, channels,
                args.accumulate_dbias, args.dbias.data<RealOf<T>>());
  }
}

template <typename T>
void next_state(const CausalConv1dState& args) {
  const std::int64_t seq_len = args.x.dim(1);
  const std::int64_t channels = args.x.dim(2);
  const std::int64_t before = args.next.dim(1);
  for (std::int64_t b = 0; b < args.x.dim(0); ++b) {
    const Tokens<T> tokens(args.x, args.state, before + 1, b);
    for (std::int64_t i = 0; i < before; ++i) {
      T* out = args.next.data<T>() + (b * before + i) * channels;
      if (const T* from = tokens[seq_len - before + i]) {
        std::copy_n(from, channels, out);
      } else {
        std::fill_n(out, channels, T{});
      }
    }
  }
}

}  // namespace

void causal_conv1d(const CausalConv1dForward& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() { forward<T>(args); });
}

void causal_conv1d(const CausalConv1dBackward& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() { backward<T>(args); });
}

void causal_conv1d(const CausalConv1dState& args) {
  visit_floating(args.x.dtype(), [&]<typename T>() { next_state<T>(args); });
}

}  // namespace ghost::cpu
