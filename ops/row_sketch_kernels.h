#pragma once

#include <optional>
#include <vector>

#include "ops/row_bins_kernels.h"

namespace ghost {

/// out = (accumulate ? out : 0) + S x
struct DenseSketch {
  const std::vector<double>* matrix;  // S [R, rows]
  Tensor x;                           // [rows, C]
  Tensor out;                         // [R, C] in statistic_dtype of x
  bool accumulate;
};

namespace cpu {
void row_sketch(const DenseSketch& args);
/// |dy^T x|^2 for dy [R, M] and x [R, N], by the Gram matrices of both.
double squared_norm_of_product(const Tensor& dy, const Tensor& x);
/// |x|^2, summed in f64.
double squared_norm(const Tensor& x);
}  // namespace cpu

// On a GPU all numbers stay there, in tensors of one f64.

/// The same for rows [first_row, first_row + n) of `rows`, S drawn as dense_sketch_columns does.
struct DeviceDenseSketch {
  SketchMethod method;
  RandomStream stream;
  std::int64_t rows;
  std::int64_t first_row;
  Tensor x;              // [n, stride]
  std::int64_t columns;  // C: of x from the first on
  Tensor out;            // [R, C], dtype of x or f32
  bool accumulate;
};

/// gamma = |x| / (|sketch| + eps), at most gamma_max unless that is 0
struct SketchGamma {
  Tensor squared_norm;  // |x|^2
  Tensor sketch;
  double eps;
  double gamma_max;
  Tensor gamma;
};

/// Of `norm` and `wta`: rows by their lengths.
struct PickRows {
  Tensor lengths;  // [rows] f32
  bool keeps_largest;
  RandomStream stream;
  Tensor picked;   // [R] i32
  Tensor weights;  // [R] f32: roots, half for either side
};

/// sum += sum over rows of |x_i|^2 |dy_i|^2
struct NormProducts {
  Tensor x_norms;   // [rows] f32
  Tensor dy_norms;  // [rows] f32
  Tensor sum;
};

/// Running means of |dy^T x|^2 and of p (|X|^2 |dY|^2 - 2 sum |x_i|^2 |dy_i|^2), and the share of
/// signal that they stand for.
struct WienerFactor {
  Tensor dy;             // [R, M], the sketches
  Tensor x;              // [R, N]
  Tensor x_squared;      // |X|^2
  Tensor dy_squared;     // |dY|^2
  Tensor norm_products;  // as NormProducts
  double collision;      // p
  double decay;          // of the means
  Tensor means;          // [2] f64, updated
  Tensor factor;
};

/// out = constant * product of the factors that are defined * x
struct ScaleSketch {
  double constant;
  Tensor cotangent;  // one f32 or undefined
  Tensor factors[3];
  Tensor x;    // [R, C] f32 or bf16
  Tensor out;  // [R, C] f32 or bf16
};

// Scratch comes from the context.
namespace cuda {
void row_sketch(const Context& ctx, const DeviceDenseSketch& args);
void row_sketch(const Context& ctx, const SketchGamma& args);
void row_sketch(const Context& ctx, const PickRows& args);
void row_sketch(const Context& ctx, const NormProducts& args);
void row_sketch(const Context& ctx, const WienerFactor& args);
void row_sketch(const Context& ctx, const ScaleSketch& args);
}  // namespace cuda

}  // namespace ghost
