#include "engine/device/cuda/stream.h"
#include "engine/device/cuda/vector_access.cuh"
#include "engine/random/cuda/gaussian_matrix.h"
#include "engine/random/cuda/philox.cuh"

namespace ghost::cuda {
namespace {

constexpr int kThreads = 256;
constexpr double kTwoPi = 6.283185307179586476925286766559;

// normal_pair of engine/random/philox.h.
__device__ __forceinline__ double2 normal_pair_of(std::uint32_t a, std::uint32_t b) {
  const double u = (static_cast<double>(a) + 0.5) * 0x1p-32;
  const double angle = kTwoPi * (static_cast<double>(b) + 0.5) * 0x1p-32;
  const double radius = sqrt(-2 * log(u));
  double sine = 0;
  double cosine = 0;
  sincos(angle, &sine, &cosine);
  return make_double2(radius * cosine, radius * sine);
}

template <typename T>
__device__ __forceinline__ T rounded(double x) {
  if constexpr (std::is_same_v<T, double>) {
    return x;
  } else {
    return from_float<T>(static_cast<float>(x));
  }
}

/// Elements [begin, end) of a matrix, counted row by row, to rows of `stride` from `out` on.
template <typename T>
struct Piece {
  T* out;
  std::int64_t begin;  // the first element of a row
  std::int64_t end;
  std::int64_t columns;
  std::int64_t stride;
};

// One counter, four neighbouring elements, a thread: the first and the last counter may have
// elements of other pieces, which are passed over. In f64, as on the CPU: a few hundred operations
// an element, no reads.
template <typename T>
__global__ void __launch_bounds__(kThreads) draw_elements(PhiloxStream names, Piece<T> piece) {
  const std::int64_t last = (piece.end - 1) / 4;
  const std::int64_t step = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t counter = piece.begin / 4 + std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
       counter <= last; counter += step) {
    names.tag = static_cast<std::uint32_t>(counter >> 32);
    const uint4 words = philox_words(names, static_cast<std::uint32_t>(counter));
    const double2 low = normal_pair_of(words.x, words.y);
    const double2 high = normal_pair_of(words.z, words.w);
    const double lanes[4] = {low.x, low.y, high.x, high.y};
#pragma unroll
    for (int lane = 0; lane < 4; ++lane) {
      const std::int64_t element = 4 * counter + lane;
      if (element >= piece.begin && element < piece.end) {
        const std::int64_t place = element - piece.begin;
        piece.out[place / piece.columns * piece.stride + place % piece.columns] =
            rounded<T>(lanes[lane]);
      }
    }
  }
}

template <typename T>
void launch(const GaussianMatrix& matrix, const Tensor& out, std::int64_t first_row,
            std::int64_t first_column) {
  const std::int64_t size = out.dim(0) * matrix.columns;
  if (size == 0) {
    return;
  }
  // The counter is (element / 4 low, high, id, generation).
  const PhiloxStream names{.key0 = static_cast<std::uint32_t>(matrix.seed),
                           .key1 = static_cast<std::uint32_t>(matrix.seed >> 32),
                           .tag = 0,
                           .step_low = matrix.id,
                           .step_high = matrix.generation};
  const std::int64_t begin = first_row * matrix.columns;
  draw_elements<T>
      <<<num_blocks(out.device(), size / 4 + 2, kThreads), kThreads, 0, stream_of(out)>>>(
          names, {.out = elements<T>(out) + first_column,
                  .begin = begin,
                  .end = begin + size,
                  .columns = matrix.columns,
                  .stride = out.dim(1)});
  check_launch("draw_elements");
}

}  // namespace

void draw(const GaussianMatrix& matrix, const Tensor& out, std::int64_t first_row,
          std::int64_t first_column) {
  if (out.dtype() == DType::kF64) {
    launch<double>(matrix, out, first_row, first_column);
    return;
  }
  visit_gpu_real(out.dtype(), "GaussianMatrix::draw",
                 [&]<typename T>() { launch<T>(matrix, out, first_row, first_column); });
}

}  // namespace ghost::cuda
