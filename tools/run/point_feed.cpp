#include <algorithm>

#include "data/poisson_points.h"
#include "tools/console/quantity.h"
#include "tools/run/data_feed.h"
#include "tools/run/run_config.h"

namespace ghost {
namespace {

class PointFeed final : public DataFeed {
 public:
  explicit PointFeed(const Config& config)
      : data_(config.data),
        inner_(config.train.batch_size),
        points_({.problem = data_.problem,
                 .inner = inner_,
                 .boundary = data_.boundary_points,
                 .resample_every = data_.resample_every,
                 .seed = static_cast<std::uint64_t>(config.train.seed)}) {}

  std::string describe() const override {
    return fmt::format("{} inner and {} boundary points, {}; evaluation on {} x {} nodes", inner_,
                       data_.boundary_points,
                       data_.resample_every == 0
                           ? std::string("always the same ones")
                           : fmt::format("others every {} steps", data_.resample_every),
                       data_.eval_grid, data_.eval_grid);
  }
  std::int64_t samples_per_epoch() const override { return 0; }
  void fill(const BatchPosition& position, const HostElements& inputs,
            const HostElements& targets) const override {
    points_.fill(position, inputs, targets);
  }
  std::int64_t num_eval_batches() const override { return (nodes() + rows() - 1) / rows(); }
  std::int64_t eval_rows(std::int64_t batch) const override {
    return std::min(rows(), nodes() - batch * rows());
  }
  void fill_eval(std::int64_t /*evaluation*/, std::int64_t batch, const HostElements& inputs,
                 const HostElements& targets) const override {
    const std::span<float> points = inputs;
    const std::span<float> solutions = targets;
    for (std::int64_t row = 0; row < eval_rows(batch); ++row) {
      const auto at = static_cast<std::size_t>(row);
      fill_grid_point(data_.problem, data_.eval_grid, batch * rows() + row,
                      points.subspan(2 * at).first<2>(), solutions[at]);
    }
  }

 private:
  /// Of a batch that is full.
  std::int64_t rows() const { return inner_ + data_.boundary_points; }
  std::int64_t nodes() const { return data_.eval_grid * data_.eval_grid; }

  DataConfig data_;
  std::int64_t inner_;
  PoissonPoints points_;
};

}  // namespace

std::unique_ptr<DataFeed> make_point_feed(const Config& config) {
  return std::make_unique<PointFeed>(config);
}

}  // namespace ghost
