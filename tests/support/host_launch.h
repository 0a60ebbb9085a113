#pragma once

#include <array>
#include <barrier>
#include <thread>
#include <vector>

#include "ops/cuda/chunked/pass.h"

namespace ghost::test {

/// Runs the passes of chunked cores (ops/cuda/chunked/pass.h) on the CPU, so that their indices and
/// formulas are tested on any machine. A row has kLanes lanes; more than one are as many threads,
/// which meet in sums alone, as the lanes of a warp do.
template <int kLanes>
class HostLaunch {
  struct Team {
    std::barrier<> barrier{kLanes};
    std::array<float, kLanes> values;
  };

 public:
  class Lanes {
   public:
    static constexpr int kCount = kLanes;
    Lanes(Team& team, int lane) : team_(team), lane_(lane) {}
    int index() const { return lane_; }
    float sum(float value) const {
      if constexpr (kLanes == 1) {
        return value;
      }
      team_.values[static_cast<std::size_t>(lane_)] = value;
      team_.barrier.arrive_and_wait();
      float total = 0;
      for (const float one : team_.values) {
        total += one;
      }
      team_.barrier.arrive_and_wait();
      return total;
    }

   private:
    Team& team_;
    int lane_;
  };

  explicit HostLaunch(const Context& ctx) : ctx_(ctx) {}
  const Context& context() const { return ctx_; }

  template <typename Step>
  void each(std::int64_t n, const Step& step) const {
    for (std::int64_t i = 0; i < n; ++i) {
      step(static_cast<std::uint32_t>(i));
    }
  }

  template <typename Step>
  void rows(std::int64_t n, const Step& step) const {
    Team team;
    const auto run = [&](int lane) {
      for (std::int64_t row = 0; row < n; ++row) {
        step(static_cast<std::uint32_t>(row), Lanes(team, lane));
      }
    };
    std::vector<std::thread> others;
    for (int lane = 1; lane < kLanes; ++lane) {
      others.emplace_back(run, lane);
    }
    run(0);
    for (std::thread& other : others) {
      other.join();
    }
  }

  void multiply(const cuda::Gemm& args) const {
    for (std::int64_t batch = 0; batch < args.batch; ++batch) {
      for (std::int64_t i = 0; i < args.m; ++i) {
        for (std::int64_t j = 0; j < args.n; ++j) {
          float sum = 0;
          for (std::int64_t k = 0; k < args.k; ++k) {
            sum += element(args.a, batch, i, k) * element(args.b, batch, k, j);
          }
          sum *= args.alpha;
          if (args.beta != 0) {
            sum += args.beta * element(args.c, batch, i, j);
          }
          const std::int64_t at = batch * args.c.batch_stride + i * args.c.stride + j;
          if (args.c.dtype == DType::kF32) {
            static_cast<float*>(args.c.data)[at] = sum;
          } else {
            static_cast<BFloat16*>(args.c.data)[at] = BFloat16(sum);
          }
        }
      }
    }
  }

  void add_parts(const Tensor& partial, const Tensor& out, bool accumulate) const {
    const std::int64_t columns = out.numel();
    for (std::int64_t column = 0; column < columns; ++column) {
      float sum = accumulate ? out.data<float>()[column] : 0.0F;
      for (std::int64_t part = 0; part < partial.numel() / columns; ++part) {
        sum += partial.data<float>()[part * columns + column];
      }
      out.data<float>()[column] = sum;
    }
  }

 private:
  static float element(const cuda::Matrix& x, std::int64_t batch, std::int64_t row,
                       std::int64_t column) {
    if (x.transpose == cuda::Transpose::kYes) {
      std::swap(row, column);
    }
    const std::int64_t at = batch * x.batch_stride + row * x.stride + column;
    return x.dtype == DType::kF32 ? static_cast<const float*>(x.data)[at]
                                  : static_cast<float>(static_cast<const BFloat16*>(x.data)[at]);
  }

  const Context& ctx_;
};

}  // namespace ghost::test
