#include <algorithm>
#include <numeric>
#include <vector>

#include "ops/cpu/gemm.h"
#include "ops/cpu/parallel.h"
#include "ops/row_groups_kernels.h"

namespace ghost::cpu {
namespace {

/// How many rows groups of different levels share, A^T A of the groups' indicators A: symmetric
/// [groups, groups], the sizes on the diagonal.
template <typename T>
std::vector<T> shared_rows(const Tensor& group_of, std::int64_t groups) {
  const std::int64_t levels = group_of.dim(0);
  const std::int64_t rows = group_of.dim(1);
  const std::int64_t per_level = groups / levels;
  const std::uint16_t* of = group_of.data<std::uint16_t>();
  std::vector<T> shared(static_cast<std::size_t>(groups * groups), T{0});
  std::vector<std::int64_t> place(static_cast<std::size_t>(levels));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t level = 0; level < levels; ++level) {
      place[static_cast<std::size_t>(level)] = level * per_level + of[level * rows + row];
    }
    for (std::size_t a = 0; a < place.size(); ++a) {
      T* of_a = shared.data() + place[a] * groups;
      for (std::size_t b = 0; b <= a; ++b) {
        of_a[place[b]] += 1;
      }
    }
  }
  const auto n = static_cast<std::size_t>(groups);
  for (std::size_t g = 0; g < n; ++g) {
    for (std::size_t h = g + 1; h < n; ++h) {
      shared[g * n + h] = shared[h * n + g];
    }
  }
  return shared;
}

// Rounds of block coordinate descent on |A mu - x|^2, a level at a time, for n columns of
// sums = A^T x at once: mu_g = (sum_g - sum over groups h of other levels of shared(g, h) mu_h) /
// rows of g. mu replaces sums [groups, n].
template <typename T>
void descend(std::vector<T> shared, std::int64_t groups, std::int64_t levels, std::int64_t sweeps,
             T* sums, std::int64_t n) {
  constexpr std::int64_t kStrip = 64;
  const std::int64_t of_level = groups / levels;
  std::vector<T> share(static_cast<std::size_t>(groups));
  for (std::int64_t g = 0; g < groups; ++g) {
    T& count = shared[static_cast<std::size_t>(g * groups + g)];
    share[static_cast<std::size_t>(g)] = count > 0 ? 1 / count : T{0};
    count = 0;  // so that products are of other levels alone
  }
  // Always a team: oneDNN starts threads of its own for each product in a region that runs on one.
#pragma omp parallel for schedule(static)
  for (std::int64_t begin = 0; begin < n; begin += kStrip) {
    const std::int64_t width = std::min(kStrip, n - begin);
    std::vector<T> mu(static_cast<std::size_t>(groups * width), T{0});
    for (std::int64_t step = 0; step < sweeps * levels; ++step) {
      const std::int64_t first = step % levels * of_level;
      T* mu_of_level = mu.data() + first * width;
      for (std::int64_t g = 0; g < of_level; ++g) {
        std::copy_n(sums + (first + g) * n + begin, width, mu_of_level + g * width);
      }
      const auto subtract_others = [&](std::int64_t from, std::int64_t to) {
        if (from < to) {
          gemm({.m = of_level, .n = width, .k = to - from}, T{-1},
               {shared.data() + first * groups + from, groups}, {mu.data() + from * width, width},
               T{1}, {mu_of_level, width});
        }
      };
      subtract_others(0, first);
      subtract_others(first + of_level, step < levels ? 0 : groups);  // at first they are 0
      for (std::int64_t g = 0; g < of_level; ++g) {
        const T factor = share[static_cast<std::size_t>(first + g)];
#pragma omp simd
        for (std::int64_t c = g * width; c < (g + 1) * width; ++c) {
          mu_of_level[c] *= factor;
        }
      }
    }
    for (std::int64_t g = 0; g < groups; ++g) {
      std::copy_n(mu.data() + g * width, width, sums + g * n + begin);
    }
  }
}

// Descent is linear in sums. Where there are fewer groups than columns, what it does to the unit
// vectors is found first and the rest is one product.
template <typename T>
std::vector<T> means_of(const GroupMeans& args, const std::vector<T>& shared) {
  const std::int64_t groups = args.sums.dim(0);
  const std::int64_t columns = args.sums.dim(1);
  const T* sums = args.sums.data<T>();
  std::vector<T> mu(sums, sums + args.sums.numel());
  const std::int64_t levels = args.group_of.dim(0);
  if (levels == 1 || groups >= columns) {
    descend(shared, groups, levels, args.sweeps, mu.data(), columns);
    return mu;
  }
  std::vector<T> solution(static_cast<std::size_t>(groups * groups), T{0});
  for (std::int64_t g = 0; g < groups; ++g) {
    solution[static_cast<std::size_t>(g * groups + g)] = 1;
  }
  descend(shared, groups, levels, args.sweeps, solution.data(), groups);
  gemm({.m = groups, .n = columns, .k = groups}, T{1}, {solution.data(), groups}, {sums, columns},
       T{0}, {mu.data(), columns});
  return mu;
}

// |x - A mu|^2 - |x|^2 = - sum over all elements of mu (2 sums - A^T A mu); of one level, whose mu
// are means, A^T A mu are the sums.
template <typename T>
double change_of_square(const GroupMeans& args, const std::vector<T>& shared,
                        const std::vector<T>& mu) {
  const std::int64_t groups = args.sums.dim(0);
  const std::int64_t columns = args.sums.dim(1);
  const T* sums = args.sums.data<T>();
  std::vector<T> product(sums, sums + args.sums.numel());
  if (args.group_of.dim(0) > 1) {
    gemm({.m = groups, .n = columns, .k = groups}, T{1}, {shared.data(), groups},
         {mu.data(), columns}, T{0}, {product.data(), columns});
  }
  std::vector<double> parts(static_cast<std::size_t>(groups));
#pragma omp parallel for schedule(static) if (args.sums.numel() > kParallelElements)
  for (std::int64_t g = 0; g < groups; ++g) {
    double part = 0;
#pragma omp simd reduction(+ : part)
    for (std::int64_t i = g * columns; i < (g + 1) * columns; ++i) {
      const auto at = static_cast<std::size_t>(i);
      part += static_cast<double>(mu[at]) * static_cast<double>(2 * sums[i] - product[at]);
    }
    parts[static_cast<std::size_t>(g)] = part;
  }
  return -std::accumulate(parts.begin(), parts.end(), 0.0);
}

}  // namespace

void for_each_block(std::int64_t blocks, const std::function<void(std::int64_t)>& work) {
  if (blocks == 1) {
    work(0);
    return;
  }
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t block = 0; block < blocks; ++block) {
    work(block);
  }
}

void row_groups(const LabelGroups& args) {
  constexpr std::uint32_t kMultiplier = 2654435769U;  // 2^32 / golden ratio: Fibonacci hashing
  const std::int32_t* labels = args.labels.data<std::int32_t>();
  const auto groups = static_cast<std::uint32_t>(args.num_groups);
  const std::int64_t rows = args.labels.numel();
  const bool are_small = std::all_of(labels, labels + rows, [&](std::int32_t label) {
    return label >= 0 && label < args.num_groups;
  });
  for (std::int64_t row = 0; row < rows; ++row) {
    const auto label = static_cast<std::uint32_t>(labels[row]);
    args.group_of.data<std::uint16_t>()[row] = static_cast<std::uint16_t>(
        are_small ? label : std::uint64_t{label * kMultiplier} * groups >> 32);
  }
}

void row_groups(const GroupMeans& args) {
  visit_real(args.sums.dtype(), [&]<typename T>() {
    const std::vector<T> shared = shared_rows<T>(args.group_of, args.sums.dim(0));
    const std::vector<T> mu = means_of(args, shared);
    if (args.squared_norm != nullptr) {
      *args.squared_norm = std::max(*args.squared_norm + change_of_square(args, shared, mu), 0.0);
    }
    std::copy(mu.begin(), mu.end(), args.sums.data<T>());
  });
}

}  // namespace ghost::cpu
