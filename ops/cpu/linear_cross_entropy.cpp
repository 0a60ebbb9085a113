#include <algorithm>
#include <cmath>
#include <limits>
#include <omp.h>
#include <utility>
#include <vector>

#include "ops/cpu/gather_rows.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/parallel.h"
#include "ops/cpu/sketch_matrix.h"
#include "ops/cpu/vector_math.h"
#include "ops/linear_cross_entropy_kernels.h"

namespace ghost::cpu {
namespace {

/// A chunk of rows against a strip of the vocabulary.
struct Piece {
  std::int64_t first_row;
  std::int64_t rows;
  std::int64_t first_column;
  std::int64_t columns;  // padding included
  std::int64_t counted;  // columns without padding
};

Piece piece_at(const CrossEntropyRows& in, const CrossEntropyPieces& pieces, std::int64_t first_row,
               std::int64_t strip) {
  const std::int64_t first = strip * pieces.strip_columns;
  const std::int64_t columns = std::min(pieces.strip_columns, in.weight.dim(0) - first);
  return {.first_row = first_row,
          .rows = std::min(pieces.chunk_rows, in.x.dim(0) - first_row),
          .first_column = first,
          .columns = columns,
          .counted = std::clamp<std::int64_t>(in.vocab_size - first, 0, columns)};
}

// Strips [first, last) of a part.
std::pair<std::int64_t, std::int64_t> strips_of(const CrossEntropyPieces& pieces,
                                                std::int64_t part) {
  return {part * pieces.num_strips / pieces.num_parts,
          (part + 1) * pieces.num_strips / pieces.num_parts};
}

/// A piece in scratch of one slot a thread or in what is held of all strips.
template <typename T>
T* slot_of(const Tensor& pieces, std::int64_t slot) {
  return pieces.data<T>() + slot * pieces.dim(1) * pieces.dim(2);
}

template <typename T>
void form_logits(const CrossEntropyRows& in, const Piece& piece, RealOf<T>* logits) {
  using Real = RealOf<T>;
  const std::int64_t channels = in.x.dim(1);
  gemm({.m = piece.rows, .n = piece.columns, .k = channels}, Real{1},
       Matrix<const T>{in.x.data<T>() + piece.first_row * channels, channels},
       {in.weight.data<T>() + piece.first_column * channels, channels, Transpose::kYes}, Real{0},
       Matrix<Real>{logits, piece.columns});
}

/// x becomes exp(x - shift); gives their sum.
template <typename Real>
Real exponentials(Real* x, Real shift, std::int64_t n) {
  Real sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    x[i] = vector_exp(x[i] - shift);
    sum += x[i];
  }
  return sum;
}

// Logits of one strip become exponentials, with their maxima and sums; losses hold the logits of
// targets that lie in it.
template <typename Real>
void reduce_strip(const CrossEntropyLoss& args, const Piece& piece, std::int64_t strip,
                  Real* logits) {
  Real* maxima = args.maxima.data<Real>() + strip * args.pieces.chunk_rows;
  Real* sums = args.sums.data<Real>() + strip * args.pieces.chunk_rows;
  const std::int32_t* targets = args.in.targets.data<std::int32_t>() + piece.first_row;
  Real* losses = args.losses.data<Real>() + piece.first_row;
#pragma omp parallel for schedule(static) if (piece.rows * piece.columns > kParallelElements)
  for (std::int64_t i = 0; i < piece.rows; ++i) {
    Real* row = logits + i * piece.columns;
    const std::int64_t target = targets[i] - piece.first_column;
    if (targets[i] != args.in.ignore_index && target >= 0 && target < piece.columns) {
      losses[i] = row[target];
    }
    maxima[i] = piece.counted > 0 ? vector_maximum(row, piece.counted)
                                  : -std::numeric_limits<Real>::infinity();
    sums[i] = exponentials(row, maxima[i], piece.counted);
  }
}

template <typename Real>
void combine_strips(const CrossEntropyLoss& args, std::int64_t first_row, std::int64_t rows) {
  const std::int64_t strips = args.pieces.num_strips;
  const std::int64_t stride = args.pieces.chunk_rows;
  const Real* maxima = args.maxima.data<Real>();
  const Real* sums = args.sums.data<Real>();
  for (std::int64_t i = 0; i < rows; ++i) {
    Real largest = maxima[i];
    for (std::int64_t strip = 1; strip < strips; ++strip) {
      largest = std::max(largest, maxima[strip * stride + i]);
    }
    Real sum = 0;
    for (std::int64_t strip = 0; strip < strips; ++strip) {
      sum += sums[strip * stride + i] * std::exp(maxima[strip * stride + i] - largest);
    }
    const Real lse = largest + std::log(sum);
    args.in.lse.data<Real>()[first_row + i] = lse;
    Real& loss = args.losses.data<Real>()[first_row + i];
    const bool counts = args.in.targets.data<std::int32_t>()[first_row + i] != args.in.ignore_index;
    loss = counts ? lse - loss : Real{0};
  }
}

// One part runs outside of any parallel region, so that its products have all threads. (A region of
// one thread would not do: what it starts inside are new threads each time.)
template <typename Work>
void for_each_part(const CrossEntropyPieces& pieces, const Work& work) {
  if (pieces.num_parts == 1) {
    work(0);
    return;
  }
#pragma omp parallel for schedule(static)
  for (std::int64_t part = 0; part < pieces.num_parts; ++part) {
    work(part);
  }
}

template <typename T>
void losses_of_chunk(const CrossEntropyLoss& args, std::int64_t first_row) {
  for_each_part(args.pieces, [&](std::int64_t part) {
    const auto [first, last] = strips_of(args.pieces, part);
    const bool is_held = args.exponentials.dim(0) == args.pieces.num_strips;
    for (std::int64_t strip = first; strip < last; ++strip) {
      auto* logits = slot_of<RealOf<T>>(args.exponentials, is_held ? strip : omp_get_thread_num());
      const Piece piece = piece_at(args.in, args.pieces, first_row, strip);
      form_logits<T>(args.in, piece, logits);
      reduce_strip(args, piece, strip, logits);
    }
  });
  combine_strips<RealOf<T>>(args, first_row,
                            std::min(args.pieces.chunk_rows, args.in.x.dim(0) - first_row));
}

// dlogits of a piece, from its exponentials or else from logits, which may lie in their place;
// padding has none.
template <typename T>
void form_gradient(const CrossEntropyGradient& args, const Piece& piece, std::int64_t strip,
                   const RealOf<T>* logits, T* dlogits) {
  using Real = RealOf<T>;
  const std::int32_t* targets = args.in.targets.data<std::int32_t>() + piece.first_row;
  const Real* lse = args.in.lse.data<Real>() + piece.first_row;
  const auto scale = static_cast<Real>(1.0 / *args.count.data<double>());
  const bool is_held = args.exponentials.defined();
#pragma omp parallel for schedule(static) if (piece.rows * piece.columns > kParallelElements)
  for (std::int64_t i = 0; i < piece.rows; ++i) {
    T* row = dlogits + i * piece.columns;
    if (targets[i] == args.in.ignore_index) {
      std::fill_n(row, piece.columns, T{});
      continue;
    }
    const std::int64_t target = targets[i] - piece.first_column;
    const bool has_target = target >= 0 && target < piece.columns;
    const Real shift = lse[i];
    Real of_target = 0;
    if (is_held) {
      const Real* held = slot_of<Real>(args.exponentials, strip) + i * piece.columns;
      const Real maximum = args.maxima.data<Real>()[strip * args.pieces.chunk_rows + i];
      const Real factor = scale * std::exp(maximum - shift);
      of_target = has_target ? factor * held[target] : 0;
#pragma omp simd
      for (std::int64_t c = 0; c < piece.counted; ++c) {
        put(row[c], factor * held[c]);
      }
    } else {
      const Real* from = logits + i * piece.columns;
      of_target = has_target ? scale * vector_exp(from[target] - shift) : 0;
#pragma omp simd
      for (std::int64_t c = 0; c < piece.counted; ++c) {
        put(row[c], scale * vector_exp(from[c] - shift));
      }
    }
    std::fill(row + piece.counted, row + piece.columns, T{});
    if (has_target) {
      put(row[target], of_target - scale);
    }
  }
}

/// What the strips of one part add up to besides tensors.
struct PartSums {
  double squared_norm = 0;
  std::vector<double> row_squares;
};

template <typename T>
void sketch_piece(const CrossEntropyGradient& args, const Piece& piece, const RowBins& bins,
                  const std::vector<T>& matrix, const T* dlogits, PartSums& sums) {
  const LogitsSketch& sketch = *args.sketch;
  const std::int64_t vocab = args.in.weight.dim(0);
  const bool accumulate = piece.first_row > 0;
  using Real = RealOf<T>;
  Real* out = sketch.out.data<Real>() + piece.first_column;
  const GatherPass<T> pass{.x = dlogits,
                           .x_stride = piece.columns,
                           .bins = bins,
                           .out = out,
                           .out_stride = vocab,
                           .accumulate = accumulate,
                           .wants_norm = true};
  sums.squared_norm += gather_block<T>(pass, 0, bins.num_bins(), 0, piece.columns, nullptr);
  if (!matrix.empty()) {
    gemm({.m = sketch.out.dim(0), .n = piece.columns, .k = piece.rows}, Real{1},
         Matrix<const T>{matrix.data(), piece.rows}, {dlogits, piece.columns},
         accumulate ? Real{1} : Real{0}, Matrix<Real>{out, vocab});
  }
  for (std::size_t i = 0; i < sums.row_squares.size(); ++i) {
    const T* row = dlogits + static_cast<std::int64_t>(i) * piece.columns;
    Real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < piece.columns; ++c) {
      sum += widen(row[c]) * widen(row[c]);
    }
    sums.row_squares[i] += static_cast<double>(sum);
  }
}

// Columns [first, first + count) of a dense S [R, rows], as T.
template <typename T>
std::vector<T> matrix_columns(const CrossEntropyGradient& args, std::int64_t first,
                              std::int64_t count) {
  std::vector<T> out;
  if (args.sketch != nullptr && args.sketch->matrix != nullptr) {
    const std::int64_t rows = args.in.x.dim(0);
    for (std::int64_t r = 0; r < args.sketch->out.dim(0); ++r) {
      const double* from = args.sketch->matrix->data() + r * rows + first;
      const std::vector<T> row = sketch_matrix<T>(std::span(from, static_cast<std::size_t>(count)));
      out.insert(out.end(), row.begin(), row.end());
    }
  }
  return out;
}

template <typename T>
void gradient_of_chunk(const CrossEntropyGradient& args, std::int64_t first_row) {
  using Real = RealOf<T>;
  const std::int64_t channels = args.in.x.dim(1);
  const std::int64_t rows = std::min(args.pieces.chunk_rows, args.in.x.dim(0) - first_row);
  RowBins bins;
  if (args.sketch != nullptr) {
    bins = bins_of_rows(*args.sketch->bins, first_row, first_row + rows);
  }
  const std::vector<T> matrix = matrix_columns<T>(args, first_row, rows);
  const bool wants_rows = args.sketch != nullptr && args.sketch->row_squares != nullptr;
  std::vector<PartSums> sums(static_cast<std::size_t>(args.pieces.num_parts));
  for (PartSums& part : sums) {
    part.row_squares.assign(wants_rows ? static_cast<std::size_t>(rows) : 0, 0.0);
  }
  const std::int64_t part_elements = args.pieces.chunk_rows * channels;
  const Real cotangent = args.cotangent.defined() ? *args.cotangent.data<Real>() : Real{1};
  for_each_part(args.pieces, [&](std::int64_t part) {
    const auto [first, last] = strips_of(args.pieces, part);
    for (std::int64_t strip = first; strip < last; ++strip) {
      T* dlogits = slot_of<T>(args.dlogits, omp_get_thread_num());
      const Piece piece = piece_at(args.in, args.pieces, first_row, strip);
      const T* weight = args.in.weight.data<T>() + piece.first_column * channels;
      Real* logits = nullptr;
      if (!args.exponentials.defined()) {
        logits = slot_of<Real>(args.logits, omp_get_thread_num());
        form_logits<T>(args.in, piece, logits);
      }
      form_gradient<T>(args, piece, strip, logits, dlogits);
      if (args.dx.defined()) {
        gemm({.m = rows, .n = channels, .k = piece.columns}, Real{1},
             Matrix<const T>{dlogits, piece.columns}, {weight, channels},
             strip == first ? Real{0} : Real{1},
             Matrix<Real>{args.dx_parts.data<Real>() + part * part_elements, channels});
      }
      if (args.dweight.defined()) {
        const bool accumulate = args.accumulate_dweight || first_row > 0;
        gemm({.m = piece.columns, .n = channels, .k = rows}, cotangent,
             Matrix<const T>{dlogits, piece.columns, Transpose::kYes},
             {args.in.x.data<T>() + first_row * channels, channels}, accumulate ? Real{1} : Real{0},
             Matrix<Real>{args.dweight.data<Real>() + piece.first_column * channels, channels});
      }
      if (args.sketch != nullptr) {
        sketch_piece(args, piece, bins, matrix, dlogits, sums[static_cast<std::size_t>(part)]);
      }
    }
  });
  for (const PartSums& part : sums) {
    if (args.sketch != nullptr) {
      *args.sketch->squared_norm += part.squared_norm;
    }
    for (std::size_t i = 0; i < part.row_squares.size(); ++i) {
      args.sketch->row_squares[first_row + static_cast<std::int64_t>(i)] += part.row_squares[i];
    }
  }
  if (args.dx.defined()) {
    const Real* parts = args.dx_parts.data<Real>();
    T* dx = args.dx.data<T>() + first_row * channels;
#pragma omp parallel for simd schedule(simd : static) if (rows * channels > kParallelElements)
    for (std::int64_t i = 0; i < rows * channels; ++i) {
      Real sum = parts[i];
      for (std::int64_t part = 1; part < args.pieces.num_parts; ++part) {
        sum += parts[part * part_elements + i];
      }
      put(dx[i], sum);
    }
  }
}

}  // namespace

void linear_cross_entropy(const CrossEntropyCount& args) {
  const std::int32_t* values = args.targets.data<std::int32_t>();
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < args.targets.numel(); ++i) {
    if (values[i] == args.ignore_index) {
      continue;
    }
    GHOST_CHECK(values[i] >= 0 && values[i] < args.vocab_size,
                "linear_cross_entropy: target {} at position {}; expected less than vocab_size {}",
                values[i], i, args.vocab_size);
    ++count;
  }
  GHOST_CHECK(count > 0, "linear_cross_entropy: all {} targets are ignore_index {}",
              args.targets.numel(), args.ignore_index);
  *args.count.data<double>() = static_cast<double>(count);
}

void linear_cross_entropy(const CrossEntropyLoss& args) {
  visit_floating(args.in.x.dtype(), [&]<typename T>() {
    for (std::int64_t row = 0; row < args.in.x.dim(0); row += args.pieces.chunk_rows) {
      losses_of_chunk<T>(args, row);
    }
  });
}

void linear_cross_entropy(const CrossEntropyGradient& args) {
  visit_floating(args.in.x.dtype(), [&]<typename T>() {
    for (std::int64_t row = 0; row < args.in.x.dim(0); row += args.pieces.chunk_rows) {
      gradient_of_chunk<T>(args, row);
    }
  });
}

void linear_cross_entropy(const CrossEntropyLossAndGradient& args) {
  const CrossEntropyLoss& loss = args.loss;
  visit_floating(loss.in.x.dtype(), [&]<typename T>() {
    for (std::int64_t row = 0; row < loss.in.x.dim(0); row += loss.pieces.chunk_rows) {
      losses_of_chunk<T>(loss, row);
      gradient_of_chunk<T>(args.gradient, row);
    }
  });
}

void linear_cross_entropy(const CrossEntropyMean& args) {
  visit_real(args.loss.dtype(), [&]<typename T>() {
    double sum = 0;
    for (const T loss : args.losses.span<T>()) {
      sum += static_cast<double>(loss);
    }
    *args.loss.data<T>() = static_cast<T>(sum / *args.count.data<double>());
  });
}

void linear_cross_entropy(const CrossEntropyScale& args) {
  const std::int64_t n = args.x.numel();
  visit_floating(args.x.dtype(), [&]<typename T>() {
    const T* x = args.x.data<T>();
    for (std::int64_t p = 0; p < args.dloss.dim(0); ++p) {
      const RealOf<T> dloss = args.dloss.data<RealOf<T>>()[p];
      T* out = args.out.data<T>() + p * n;
#pragma omp parallel for simd schedule(simd : static) if (n > kParallelElements)
      for (std::int64_t i = 0; i < n; ++i) {
        put(out[i], dloss * widen(x[i]));
      }
    }
  });
}

}  // namespace ghost::cpu
