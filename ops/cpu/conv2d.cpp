#include <algorithm>
#include <numeric>
#include <unordered_map>

#include <oneapi/dnnl/dnnl.hpp>

#include "engine/core/error.h"
#include "engine/tensor/primitives.h"
#include "ops/conv2d_kernels.h"

namespace ghost::cpu {
namespace {

struct Sizes {
  std::int64_t batch, inputs, outputs, height, width, kernel;
};

Sizes sizes_of(const Tensor& x, const Tensor& weight) {
  return {.batch = x.dim(0),
          .inputs = weight.dim(1),
          .outputs = weight.dim(0),
          .height = x.dim(2),
          .width = x.dim(3),
          .kernel = weight.dim(2)};
}

/// Calls visit(b, m, c, y, x, dy, dx) for each product of the sum: output (b, m, y, x) and input
/// (b, c, y + dy, x + dx), inside of the image.
template <typename Visit>
void for_each_product(const Sizes& size, std::int64_t b, std::int64_t m, Visit&& visit) {
  const std::int64_t reach = size.kernel / 2;
  for (std::int64_t c = 0; c < size.inputs; ++c) {
    for (std::int64_t ky = 0; ky < size.kernel; ++ky) {
      for (std::int64_t kx = 0; kx < size.kernel; ++kx) {
        const std::int64_t w = ((m * size.inputs + c) * size.kernel + ky) * size.kernel + kx;
        for (std::int64_t y = 0; y < size.height; ++y) {
          const std::int64_t in_y = y + ky - reach;
          if (in_y < 0 || in_y >= size.height) {
            continue;
          }
          const std::int64_t out = ((b * size.outputs + m) * size.height + y) * size.width;
          const std::int64_t in = ((b * size.inputs + c) * size.height + in_y) * size.width;
          const std::int64_t begin = std::max<std::int64_t>(0, reach - kx);
          const std::int64_t end = std::min(size.width, size.width + reach - kx);
          for (std::int64_t x = begin; x < end; ++x) {
            visit(out + x, in + x + kx - reach, w);
          }
        }
      }
    }
  }
}

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::memory::dims dims_of(const Tensor& x) {
  return {x.shape().dims().begin(), x.shape().dims().end()};
}

constexpr auto kF32 = dnnl::memory::data_type::f32;

dnnl::memory::desc plain(const Tensor& x) {
  using Tag = dnnl::memory::format_tag;
  return {dims_of(x), kF32, x.shape().rank() == 1 ? Tag::a : Tag::abcd};
}

/// In the order of elements that oneDNN likes best.
dnnl::memory::desc any(const Tensor& x) {
  return {dims_of(x), kF32, dnnl::memory::format_tag::any};
}

dnnl::memory memory_of(const Tensor& x) { return {plain(x), cpu_engine(), x.data<float>()}; }

/// x as `wanted`: itself where that is how it lies.
dnnl::memory reordered(const dnnl::stream& stream, const Tensor& x,
                       const dnnl::memory::desc& wanted) {
  dnnl::memory from = memory_of(x);
  if (from.get_desc() == wanted) {
    return from;
  }
  dnnl::memory to(wanted, cpu_engine());
  dnnl::reorder(from, to).execute(stream, from, to);
  return to;
}

/// Where a result of this form goes before it is put into x: x itself where it can.
dnnl::memory place_for(const Tensor& x, const dnnl::memory::desc& form) {
  return plain(x) == form ? memory_of(x) : dnnl::memory(form, cpu_engine());
}

void bring(const dnnl::stream& stream, dnnl::memory from, const Tensor& x) {
  if (from.get_data_handle() != x.raw()) {
    dnnl::memory to = memory_of(x);
    dnnl::reorder(from, to).execute(stream, from, to);
  }
}

using Forward = dnnl::convolution_forward;
using DataBackward = dnnl::convolution_backward_data;
using WeightBackward = dnnl::convolution_backward_weights;
constexpr auto kDirect = dnnl::algorithm::convolution_direct;

Forward::primitive_desc forward_plan(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                     const Tensor& y) {
  const std::int64_t reach = weight.dim(2) / 2;
  const dnnl::memory::dims ones = {1, 1};
  const dnnl::memory::dims padding = {reach, reach};
  const auto kind = dnnl::prop_kind::forward_training;
  const auto desc = bias.defined() ? Forward::desc(kind, kDirect, any(x), any(weight), plain(bias),
                                                   any(y), ones, padding, padding)
                                   : Forward::desc(kind, kDirect, any(x), any(weight), any(y), ones,
                                                   padding, padding);
  return {desc, cpu_engine()};
}

/// oneDNN's exceptions as ours.
template <typename Body>
void run(std::string_view what, Body&& body) {
  try {
    dnnl::stream stream(cpu_engine());
    body(stream);
    stream.wait();
  } catch (const dnnl::error& error) {
    fail("oneDNN {} failed: {}", what, error.what());
  }
}

bool is_f32(const Tensor& x) { return x.dtype() == DType::kF32; }

}  // namespace

void conv2d(const Conv2dForward& args) {
  if (!is_f32(args.x)) {
    reference_conv2d(args);
    return;
  }
  run("conv2d", [&](dnnl::stream& stream) {
    const auto plan = forward_plan(args.x, args.weight, args.bias, args.y);
    dnnl::memory y = place_for(args.y, plan.dst_desc());
    std::unordered_map<int, dnnl::memory> memories = {
        {DNNL_ARG_SRC, reordered(stream, args.x, plan.src_desc())},
        {DNNL_ARG_WEIGHTS, reordered(stream, args.weight, plan.weights_desc())},
        {DNNL_ARG_DST, y}};
    if (args.bias.defined()) {
      memories[DNNL_ARG_BIAS] = memory_of(args.bias);
    }
    Forward(plan).execute(stream, memories);
    bring(stream, y, args.y);
  });
}

void conv2d(const Conv2dInputBackward& args) {
  if (!is_f32(args.dy)) {
    reference_conv2d(args);
    return;
  }
  run("conv2d backward", [&](dnnl::stream& stream) {
    const std::int64_t reach = args.weight.dim(2) / 2;
    const auto hint = forward_plan(args.dx, args.weight, {}, args.dy);
    const DataBackward::primitive_desc plan(
        DataBackward::desc(kDirect, any(args.dx), any(args.weight), any(args.dy), {1, 1},
                           {reach, reach}, {reach, reach}),
        cpu_engine(), hint);
    dnnl::memory dx = place_for(args.dx, plan.diff_src_desc());
    DataBackward(plan).execute(
        stream, {{DNNL_ARG_DIFF_DST, reordered(stream, args.dy, plan.diff_dst_desc())},
                 {DNNL_ARG_WEIGHTS, reordered(stream, args.weight, plan.weights_desc())},
                 {DNNL_ARG_DIFF_SRC, dx}});
    bring(stream, dx, args.dx);
  });
}

void conv2d(const Conv2dWeightBackward& args) {
  if (!is_f32(args.dy)) {
    reference_conv2d(args);
    return;
  }
  run("conv2d weight backward", [&](dnnl::stream& stream) {
    const std::int64_t reach = args.dweight.dim(2) / 2;
    const dnnl::memory::dims ones = {1, 1};
    const dnnl::memory::dims padding = {reach, reach};
    const auto hint = forward_plan(args.x, args.dweight, args.dbias, args.dy);
    const auto desc =
        args.dbias.defined()
            ? WeightBackward::desc(kDirect, any(args.x), any(args.dweight), plain(args.dbias),
                                   any(args.dy), ones, padding, padding)
            : WeightBackward::desc(kDirect, any(args.x), any(args.dweight), any(args.dy), ones,
                                   padding, padding);
    const WeightBackward::primitive_desc plan(desc, cpu_engine(), hint);
    dnnl::memory dweight = place_for(args.dweight, plan.diff_weights_desc());
    std::unordered_map<int, dnnl::memory> memories = {
        {DNNL_ARG_SRC, reordered(stream, args.x, plan.src_desc())},
        {DNNL_ARG_DIFF_DST, reordered(stream, args.dy, plan.diff_dst_desc())},
        {DNNL_ARG_DIFF_WEIGHTS, dweight}};
    if (args.dbias.defined()) {
      memories[DNNL_ARG_DIFF_BIAS] = memory_of(args.dbias);
    }
    WeightBackward(plan).execute(stream, memories);
    bring(stream, dweight, args.dweight);
  });
}

void reference_conv2d(const Conv2dForward& args) {
  const Sizes size = sizes_of(args.x, args.weight);
  visit_real(args.x.dtype(), [&]<typename T>() {
    const T* x = args.x.data<T>();
    const T* weight = args.weight.data<T>();
    T* y = args.y.data<T>();
    const std::int64_t plane = size.height * size.width;
    for (std::int64_t b = 0; b < size.batch; ++b) {
      for (std::int64_t m = 0; m < size.outputs; ++m) {
        std::fill_n(y + (b * size.outputs + m) * plane, plane,
                    args.bias.defined() ? args.bias.data<T>()[m] : T{0});
        for_each_product(size, b, m, [&](std::int64_t out, std::int64_t in, std::int64_t w) {
          y[out] += weight[w] * x[in];
        });
      }
    }
  });
}

void reference_conv2d(const Conv2dInputBackward& args) {
  const Sizes size = sizes_of(args.dx, args.weight);
  fill_zero(args.dx);
  visit_real(args.dx.dtype(), [&]<typename T>() {
    const T* dy = args.dy.data<T>();
    const T* weight = args.weight.data<T>();
    T* dx = args.dx.data<T>();
    for (std::int64_t b = 0; b < size.batch; ++b) {
      for (std::int64_t m = 0; m < size.outputs; ++m) {
        for_each_product(size, b, m, [&](std::int64_t out, std::int64_t in, std::int64_t w) {
          dx[in] += weight[w] * dy[out];
        });
      }
    }
  });
}

void reference_conv2d(const Conv2dWeightBackward& args) {
  const Sizes size = sizes_of(args.x, args.dweight);
  const std::int64_t plane = size.height * size.width;
  fill_zero(args.dweight);
  visit_real(args.x.dtype(), [&]<typename T>() {
    const T* dy = args.dy.data<T>();
    const T* x = args.x.data<T>();
    T* dweight = args.dweight.data<T>();
    for (std::int64_t b = 0; b < size.batch; ++b) {
      for (std::int64_t m = 0; m < size.outputs; ++m) {
        for_each_product(size, b, m, [&](std::int64_t out, std::int64_t in, std::int64_t w) {
          dweight[w] += dy[out] * x[in];
        });
      }
    }
    for (std::int64_t m = 0; args.dbias.defined() && m < size.outputs; ++m) {
      T total = 0;
      for (std::int64_t b = 0; b < size.batch; ++b) {
        const T* begin = dy + (b * size.outputs + m) * plane;
        total = std::accumulate(begin, begin + plane, total);
      }
      args.dbias.data<T>()[m] = total;
    }
  });
}

}  // namespace ghost::cpu
