#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "data/batch_source.h"
#include "data/image_file.h"

namespace ghost {

/// Labelled images as floats: (pixel / 255 - mean) / std of the channel.
class ImageSet {
 public:
  /// `mean` and `std`: one number a channel, or one for all; empty: 0 and 1. Throws ghost::Error as
  /// append_images does, and for another number of means or deviations.
  ImageSet(const std::vector<std::filesystem::path>& files, const std::vector<double>& mean,
           const std::vector<double>& std);

  std::int64_t size() const { return images_.size(); }
  const Images& images() const { return images_; }
  const std::string& name() const { return name_; }

  /// Writes image `index` as [channels, height, width].
  void read(std::int64_t index, std::span<float> out) const;
  std::int32_t label(std::int64_t index) const {
    return images_.labels[static_cast<std::size_t>(index)];
  }

 private:
  std::string name_;
  Images images_;
  std::vector<std::array<float, 256>> values_;  // of a byte, by channel
};

/// Training batches: images in the order of an epoch, epoch after epoch, shuffled anew for each
/// (seed, epoch) without replacement or in the order of the files. A batch may hold the end of one
/// epoch and the start of the next, so all have one size and every image comes once an epoch. A
/// pure function of seed and position: nothing is stored, and a run resumes at any step.
class ImageBatches {
 public:
  enum class Order { kShuffled, kSequential };

  /// `set` must outlive the object.
  ImageBatches(const ImageSet& set, Order order, std::int64_t batch_size, std::uint64_t seed);

  /// Fills batch_size images and labels. Rows are numbered as those of BatchSource.
  void fill(const BatchPosition& position, std::span<float> inputs,
            std::span<std::int32_t> targets) const;

  /// The image that is number `place` of the run.
  std::int64_t image_at(std::int64_t place) const;

 private:
  const ImageSet& set_;
  Order order_;
  std::int64_t batch_size_;
  std::uint64_t seed_;
};

/// Evaluation batches: the images in their order; the last batch may have fewer.
class ImageEvalBatches {
 public:
  /// At most `max_batches` batches; 0: the whole set. `set` must outlive the object.
  ImageEvalBatches(const ImageSet& set, std::int64_t batch_size, std::int64_t max_batches);

  std::int64_t num_batches() const { return num_batches_; }
  /// Images of a batch.
  std::int64_t rows(std::int64_t batch) const;
  /// Fills the first rows(batch) rows; others stay as they are.
  void fill(std::int64_t batch, std::span<float> inputs, std::span<std::int32_t> targets) const;

 private:
  const ImageSet& set_;
  std::int64_t batch_size_;
  std::int64_t num_batches_;
};

}  // namespace ghost
