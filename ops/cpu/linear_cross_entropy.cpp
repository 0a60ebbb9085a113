#include <algorithm>
#include <cmath>
#include <limits>
#include <omp.h>
#include <utility>
#include <vector>

#include "ops/cpu/gather_rows.h"
#include "ops/cpu/gemm.h"
#include "ops/cpu/parallel.h"
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
void form_logits(const CrossEntropyRows& in, const Piece& piece, T* logits) {
  const std::int64_t channels = in.x.dim(1);
  gemm({.m = piece.rows, .n = piece.columns, .k = channels}, T{1},
       {in.x.data<T>() + piece.first_row * channels, channels},
       {in.weight.data<T>() + piece.first_column * channels, channels, Transpose::kYes}, T{0},
       {logits, piece.columns});
}

/// x becomes exp(x - shift); gives their sum.
template <typename T>
T exponentials(T* x, T shift, std::int64_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < n; ++i) {
    x[i] = vector_exp(x[i] - shift);
    sum += x[i];
  }
  return sum;
}

// Logits of one strip become exponentials, with their maxima and sums; losses hold the logits of
// targets that lie in it.
template <typename T>
void reduce_strip(const CrossEntropyLoss& args, const Piece& piece, std::int64_t strip, T* logits) {
  T* maxima = args.maxima.data<T>() + strip * args.pieces.chunk_rows;
  T* sums = args.sums.data<T>() + strip * args.pieces.chunk_rows;
  const std::int32_t* targets = args.in.targets.data<std::int32_t>() + piece.first_row;
  T* losses = args.losses.data<T>() + piece.first_row;
#pragma omp parallel for schedule(static) if (piece.rows * piece.columns > kParallelElements)
  for (std::int64_t i = 0; i < piece.rows; ++i) {
    T* row = logits + i * piece.columns;
    const std::int64_t target = targets[i] - piece.first_column;
    if (targets[i] != args.in.ignore_index && target >= 0 && target < piece.columns) {
      losses[i] = row[target];
    }
    maxima[i] = piece.counted > 0 ? vector_maximum(row, piece.counted)
                                  : -std::numeric_limits<T>::infinity();
    sums[i] = exponentials(row, maxima[i], piece.counted);
  }
}

template <typename T>
void combine_strips(const CrossEntropyLoss& args, std::int64_t first_row, std::int64_t rows) {
  const std::int64_t strips = args.pieces.num_strips;
  const std::int64_t stride = args.pieces.chunk_rows;
  const T* maxima = args.maxima.data<T>();
  const T* sums = args.sums.data<T>();
  for (std::int64_t i = 0; i < rows; ++i) {
    T largest = maxima[i];
    for (std::int64_t strip = 1; strip < strips; ++strip) {
      largest = std::max(largest, maxima[strip * stride + i]);
    }
    T sum = 0;
    for (std::int64_t strip = 0; strip < strips; ++strip) {
      sum += sums[strip * stride + i] * std::exp(maxima[strip * stride + i] - largest);
    }
    const T lse = largest + std::log(sum);
    args.in.lse.data<T>()[first_row + i] = lse;
    T& loss = args.losses.data<T>()[first_row + i];
    const bool counts = args.in.targets.data<std::int32_t>()[first_row + i] != args.in.ignore_index;
    loss = counts ? lse - loss : T{0};
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
      T* logits = slot_of<T>(args.exponentials, is_held ? strip : omp_get_thread_num());
      const Piece piece = piece_at(args.in, args.pieces, first_row, strip);
      form_logits(args.in, piece, logits);
      reduce_strip(args, piece, strip, logits);
    }
  });
  combine_strips<T>(args, first_row,
                    std::min(args.pieces.chunk_rows, args.in.x.dim(0) - first_row));
}

// dlogits of a piece, from its exponentials or else from logits in their place; padding has none.
template <typename T>
void form_gradient(const CrossEntropyGradient& args, const Piece& piece, std::int64_t strip,
                   T* dlogits) {
  const std::int32_t* targets = args.in.targets.data<std::int32_t>() + piece.first_row;
  const T* lse = args.in.lse.data<T>() + piece.first_row;
  const T scale = static_cast<T>(1.0 / *args.count.data<double>());
  const bool is_held = args.exponentials.defined();
#pragma omp parallel for schedule(static) if (piece.rows * piece.columns > kParallelElements)
  for (std::int64_t i = 0; i < piece.rows; ++i) {
    T* row = dlogits + i * piece.columns;
    if (targets[i] == args.in.ignore_index) {
      std::fill_n(row, piece.columns, T{0});
      continue;
    }
    const T shift = lse[i];
    if (is_held) {
      const T* held = slot_of<T>(args.exponentials, strip) + i * piece.columns;
      const T maximum = args.maxima.data<T>()[strip * args.pieces.chunk_rows + i];
      const T factor = scale * std::exp(maximum - shift);
#pragma omp simd
      for (std::int64_t c = 0; c < piece.counted; ++c) {
        row[c] = factor * held[c];
      }
    } else {
#pragma omp simd
      for (std::int64_t c = 0; c < piece.counted; ++c) {
        row[c] = scale * vector_exp(row[c] - shift);
      }
    }
    std::fill(row + piece.counted, row + piece.columns, T{0});
    const std::int64_t target = targets[i] - piece.first_column;
    if (target >= 0 && target < piece.columns) {
      row[target] -= scale;
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
  T* out = sketch.out.data<T>() + piece.first_column;
  const GatherPass<T> pass{.x = dlogits,
                           .x_stride = piece.columns,
                           .bins = bins,
                           .out = out,
                           .out_stride = vocab,
                           .accumulate = accumulate,
                           .wants_norm = true};
  sums.squared_norm += gather_block<T>(pass, 0, bins.num_bins(), 0, piece.columns, nullptr);
  if (!matrix.empty()) {
    gemm({.m = sketch.out.dim(0), .n = piece.columns, .k = piece.rows}, T{1},
         {matrix.data(), piece.rows}, {dlogits, piece.columns}, accumulate ? T{1} : T{0},
         {out, vocab});
  }
  for (std::size_t i = 0; i < sums.row_squares.size(); ++i) {
    const T* row = dlogits + static_cast<std::int64_t>(i) * piece.columns;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < piece.columns; ++c) {
      sum += row[c] * row[c];
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
      out.insert(out.end(), from, from + count);
    }
  }
  return out;
}

template <typename T>
void gradient_of_chunk(const CrossEntropyGradient& args, std::int64_t first_row) {
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
  const T cotangent = args.cotangent.defined() ? *args.cotangent.data<T>() : T{1};
  for_each_part(args.pieces, [&](std::int64_t part) {
    const auto [first, last] = strips_of(args.pieces, part);
    for (std::int64_t strip = first; strip < last; ++strip) {
      T* dlogits = slot_of<T>(args.dlogits, omp_get_thread_num());
      const Piece piece = piece_at(args.in, args.pieces, first_row, strip);
      const T* weight = args.in.weight.data<T>() + piece.first_column * channels;
      if (!args.exponentials.defined()) {
        form_logits(args.in, piece, dlogits);
      }
      form_gradient(args, piece, strip, dlogits);
      if (args.dx.defined()) {
        gemm({.m = rows, .n = channels, .k = piece.columns}, T{1}, {dlogits, piece.columns},
             {weight, channels}, strip == first ? T{0} : T{1},
             {args.dx_parts.data<T>() + part * part_elements, channels});
      }
      if (args.dweight.defined()) {
        const bool accumulate = args.accumulate_dweight || first_row > 0;
        gemm({.m = piece.columns, .n = channels, .k = rows}, cotangent,
             {dlogits, piece.columns, Transpose::kYes},
             {args.in.x.data<T>() + first_row * channels, channels}, accumulate ? T{1} : T{0},
             {args.dweight.data<T>() + piece.first_column * channels, channels});
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
    const T* parts = args.dx_parts.data<T>();
    T* dx = args.dx.data<T>() + first_row * channels;
#pragma omp parallel for simd schedule(simd : static) if (rows * channels > kParallelElements)
    for (std::int64_t i = 0; i < rows * channels; ++i) {
      T sum = parts[i];
      for (std::int64_t part = 1; part < args.pieces.num_parts; ++part) {
        sum += parts[part * part_elements + i];
      }
      dx[i] = sum;
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
  visit_real(args.in.x.dtype(), [&]<typename T>() {
    for (std::int64_t row = 0; row < args.in.x.dim(0); row += args.pieces.chunk_rows) {
      losses_of_chunk<T>(args, row);
    }
  });
}

void linear_cross_entropy(const CrossEntropyGradient& args) {
  visit_real(args.in.x.dtype(), [&]<typename T>() {
    for (std::int64_t row = 0; row < args.in.x.dim(0); row += args.pieces.chunk_rows) {
      gradient_of_chunk<T>(args, row);
    }
  });
}

void linear_cross_entropy(const CrossEntropyLossAndGradient& args) {
  const CrossEntropyLoss& loss = args.loss;
  visit_real(loss.in.x.dtype(), [&]<typename T>() {
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
  visit_real(args.x.dtype(), [&]<typename T>() {
    const T* x = args.x.data<T>();
    for (std::int64_t p = 0; p < args.dloss.dim(0); ++p) {
      const T dloss = args.dloss.data<T>()[p];
      T* out = args.out.data<T>() + p * n;
#pragma omp parallel for simd schedule(simd : static) if (n > kParallelElements)
      for (std::int64_t i = 0; i < n; ++i) {
        out[i] = dloss * x[i];
      }
    }
  });
}

}  // namespace ghost::cpu
