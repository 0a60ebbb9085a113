#pragma once

#include <algorithm>

#include "engine/autograd/checkpoint.h"
#include "engine/autograd/pullback.h"

namespace ghost::test {

// Ops just large enough to exercise the tape: plain loops in f32 and f64.

/// out[i] = rule(i) for all i.
template <typename Rule>
Tensor build(const Context& ctx, const Shape& shape, DType dtype, Rule&& rule) {
  Tensor out = ctx.empty(shape, dtype);
  if (!ctx.device().is_dry) {
    visit_real(dtype, [&]<typename T>() {
      for (std::int64_t i = 0; i < out.numel(); ++i) {
        out.data<T>()[i] = static_cast<T>(rule(i));
      }
    });
  }
  return out;
}

inline double at(const Tensor& x, std::int64_t i) {
  return x.dtype() == DType::kF32 ? static_cast<double>(x.data<float>()[i]) : x.data<double>()[i];
}

/// a * b; keeps both.
class Multiply final : public Op {
 public:
  std::string_view name() const override { return "multiply"; }
  ResidualSpecs residuals() const override {
    return {{"a", Role::kActivationInput}, {"b", Role::kActivationInput}};
  }
  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& a = node.input(0);
    const Tensor& b = node.input(1);
    node.keep("a", a);
    node.keep("b", b);
    return {build(ctx, a.shape(), a.dtype(), [&](auto i) { return at(a, i) * at(b, i); })};
  }
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    for (const std::size_t input : {std::size_t{0}, std::size_t{1}}) {
      if (!pullback.wanted(input)) {
        continue;
      }
      const Tensor other = node.residual(input == 0 ? "b" : "a");
      pullback.give(input, build(ctx, dy.shape(), dy.dtype(),
                                 [&](auto i) { return at(dy, i) * at(other, i % other.numel()); }));
    }
  }
};
inline Tensor multiply(Context& ctx, const Tensor& a, const Tensor& b) {
  return ctx.apply<Multiply>({a, b});
}

/// x^2; cheap to make again from x, which it keeps.
class Square final : public Op {
 public:
  std::string_view name() const override { return "square"; }
  ResidualSpecs residuals() const override { return {{"x", Role::kNormInput}}; }
  Tensors forward(Context& ctx, Node& node) const override {
    node.keep("x", node.input(0));
    return {of(ctx, node.input(0))};
  }
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    const Tensor x = node.residual("x");
    pullback.give(0, build(ctx, dy.shape(), dy.dtype(),
                           [&](auto i) { return 2 * at(dy, i) * at(x, i % x.numel()); }));
  }
  bool is_cheap() const override { return true; }
  Tensor recompute(Context& ctx, const Node& node) const override {
    return of(ctx, node.residual("x"));
  }

 private:
  static Tensor of(Context& ctx, const Tensor& x) {
    return build(ctx, x.shape(), x.dtype(), [&](auto i) { return at(x, i) * at(x, i); });
  }
};
inline Tensor square(Context& ctx, const Tensor& x) { return ctx.apply<Square>({x}); }

/// a + b; keeps nothing and hands the same cotangent to both.
class Add final : public Op {
 public:
  std::string_view name() const override { return "add"; }
  ResidualSpecs residuals() const override { return {}; }
  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& a = node.input(0);
    const Tensor& b = node.input(1);
    return {build(ctx, a.shape(), a.dtype(), [&](auto i) { return at(a, i) + at(b, i); })};
  }
  void backward(Context& /*ctx*/, const Node& /*node*/, Pullback& pullback) const override {
    pullback.give(0, pullback.dy());
    pullback.give(1, pullback.dy());
  }
};
inline Tensor add(Context& ctx, const Tensor& a, const Tensor& b) { return ctx.apply<Add>({a, b}); }

/// x * w over the last dimension, w [C] being a weight: its gradient goes to a target.
class Weigh final : public Op {
 public:
  std::string_view name() const override { return "weigh"; }
  ResidualSpecs residuals() const override {
    return {{"x", Role::kLinearInput}, {"w", Role::kParameter}};
  }
  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    const Tensor& w = node.input(1);
    node.keep("x", x);
    node.keep("w", w);
    return {
        build(ctx, x.shape(), x.dtype(), [&](auto i) { return at(x, i) * at(w, i % w.numel()); })};
  }
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    const Tensor w = node.residual("w");
    if (pullback.wanted(0)) {
      pullback.give(0, build(ctx, dy.shape(), dy.dtype(),
                             [&](auto i) { return at(dy, i) * at(w, i % w.numel()); }));
    }
    if (pullback.wanted(1)) {
      const GradientTarget target = pullback.target(1);
      const Tensor x = node.residual("x");
      visit_real(x.dtype(), [&]<typename T>() {
        T* dw = target.grad.data<T>();
        if (!target.accumulate) {
          std::fill_n(dw, w.numel(), T{0});
        }
        for (std::int64_t i = 0; i < x.numel(); ++i) {
          dw[i % w.numel()] += dy.data<T>()[i] * x.data<T>()[i];
        }
      });
    }
  }
};
inline Tensor weigh(Context& ctx, const Tensor& x, const Tensor& w) {
  return ctx.apply<Weigh>({x, w});
}

/// x * u with u uniform in [0, 1), drawn again in backward; keeps nothing.
class Noise final : public Op {
 public:
  explicit Noise(const RandomStream& stream) : stream_(stream) {}
  std::string_view name() const override { return "noise"; }
  ResidualSpecs residuals() const override { return {}; }
  Tensors forward(Context& ctx, Node& node) const override {
    return {times_draws(ctx, node.input(0), node.input(0).numel())};
  }
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    pullback.give(0, times_draws(ctx, pullback.dy(), node.facts(0).shape.numel()));
  }

 private:
  Tensor times_draws(Context& ctx, const Tensor& x, std::int64_t period) const {
    return build(ctx, x.shape(), x.dtype(), [&](auto i) {
      const auto words = stream_.words(static_cast<std::uint32_t>(i % period));
      return at(x, i) * static_cast<double>(uniform_from(words[0]));
    });
  }

  RandomStream stream_;
};
inline Tensor noise(Context& ctx, const Tensor& x) {
  return ctx.apply<Noise>({x}, ctx.next_stream(Purpose::kDropout));
}

/// Sum of all elements, [1]; keeps nothing.
class Sum final : public Op {
 public:
  std::string_view name() const override { return "sum"; }
  ResidualSpecs residuals() const override { return {}; }
  Tensors forward(Context& ctx, Node& node) const override {
    const Tensor& x = node.input(0);
    return {build(ctx, {1}, x.dtype(), [&](auto) {
      double total = 0;
      for (std::int64_t i = 0; i < x.numel(); ++i) {
        total += at(x, i);
      }
      return total;
    })};
  }
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor dy = pullback.dy();
    const Shape shape = node.facts(0).shape;
    pullback.give(0, build(ctx, shape.with_first(dy.dim(0)), dy.dtype(),
                           [&](auto i) { return at(dy, i / shape.numel()); }));
  }
};
inline Tensor sum(Context& ctx, const Tensor& x) { return ctx.apply<Sum>({x}); }

/// Splits [2, ...] into its two rows: an op of two outputs.
class Split final : public Op {
 public:
  std::string_view name() const override { return "split"; }
  ResidualSpecs residuals() const override { return {}; }
  Tensors forward(Context& /*ctx*/, Node& node) const override {
    const Tensor& x = node.input(0);
    return {x.slice(0, 1), x.slice(1, 2)};
  }
  void backward(Context& ctx, const Node& node, Pullback& pullback) const override {
    const Tensor first = pullback.dy(0);
    const Tensor second = pullback.dy(1);
    const std::int64_t row = node.facts(0).shape.numel() / 2;
    pullback.give(
        0, build(ctx, node.facts(0).shape.with_first(first.dim(0)), first.dtype(), [&](auto i) {
          const auto p = i / (2 * row);
          const auto at_row = p * row + i % row;
          return i / row % 2 == 0 ? at(first, at_row) : at(second, at_row);
        }));
  }
};

}  // namespace ghost::test
