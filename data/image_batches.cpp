#include "data/image_batches.h"

#include <algorithm>

#include "data/permutation.h"
#include "engine/core/error.h"

namespace ghost {
namespace {

constexpr std::int64_t kParallelPixels = 1 << 14;

std::string name_of(const std::vector<std::filesystem::path>& files) {
  const std::string first = files.front().string();
  return files.size() == 1 ? first : fmt::format("{} and {} more", first, files.size() - 1);
}

/// The number of a channel, where one number may stand for all.
double of_channel(const std::vector<double>& values, std::int64_t channel, double otherwise) {
  if (values.empty()) {
    return otherwise;
  }
  return values.size() == 1 ? values[0] : values[static_cast<std::size_t>(channel)];
}

void check_count(std::string_view what, const std::vector<double>& values, const Images& images,
                 const std::string& name) {
  const auto count = static_cast<std::int64_t>(values.size());
  GHOST_CHECK(count <= 1 || count == images.channels,
              "{}: {} numbers of {} for images of {} channels; expected one a channel, or one",
              name, count, what, images.channels);
}

}  // namespace

ImageSet::ImageSet(const std::vector<std::filesystem::path>& files, const std::vector<double>& mean,
                   const std::vector<double>& std) {
  GHOST_CHECK(!files.empty(), "image set of no files; expected at least one");
  name_ = name_of(files);
  for (const auto& file : files) {
    append_images(file, images_);
  }
  GHOST_CHECK(size() > 0, "{}: no images in the file", name_);
  check_count("mean", mean, images_, name_);
  check_count("std", std, images_, name_);
  for (std::int64_t channel = 0; channel < images_.channels; ++channel) {
    std::array<float, 256>& values = values_.emplace_back();
    for (std::size_t byte = 0; byte < values.size(); ++byte) {
      values[byte] =
          static_cast<float>((static_cast<double>(byte) / 255 - of_channel(mean, channel, 0)) /
                             of_channel(std, channel, 1));
    }
  }
}

void ImageSet::read(std::int64_t index, std::span<float> out) const {
  const auto count = static_cast<std::size_t>(images_.pixels_per_image());
  GHOST_CHECK(index >= 0 && index < size() && out.size() == count,
              "{}: image {} of {} into {} numbers; expected {}", name_, index, size(), out.size(),
              count);
  const std::uint8_t* pixel = images_.pixels.data() + static_cast<std::size_t>(index) * count;
  const std::size_t plane = count / values_.size();
  auto to = out.begin();
  for (const std::array<float, 256>& values : values_) {
    to = std::transform(pixel, pixel + plane, to, [&](std::uint8_t byte) { return values[byte]; });
    pixel += plane;
  }
}

ImageBatches::ImageBatches(const ImageSet& set, Order order, std::int64_t batch_size,
                           std::uint64_t seed)
    : set_(set), order_(order), batch_size_(batch_size), seed_(seed) {
  GHOST_CHECK(batch_size > 0, "{}: batch_size is {}; expected a positive number", set.name(),
              batch_size);
}

std::int64_t ImageBatches::image_at(std::int64_t place) const {
  const std::int64_t epoch = place / set_.size();
  const std::int64_t index = place % set_.size();
  if (order_ == Order::kSequential) {
    return index;
  }
  return IndexPermutation(seed_, static_cast<std::uint32_t>(epoch), /*stream=*/0,
                          set_.size())(index);
}

void ImageBatches::fill(const BatchPosition& position, std::span<float> inputs,
                        std::span<std::int32_t> targets) const {
  const std::int64_t count = set_.images().pixels_per_image();
  const auto expected = static_cast<std::size_t>(batch_size_);
  GHOST_CHECK(
      targets.size() == expected && inputs.size() == expected * static_cast<std::size_t>(count),
      "batch of {} numbers and {} labels; expected {} x {} and {}", inputs.size(), targets.size(),
      batch_size_, count, batch_size_);
  const std::int64_t turn = position.number();
  // Of a small network's step this would be some percent on one thread. Nothing in it can fail.
#pragma omp parallel for schedule(static) if (batch_size_ * count > kParallelPixels)
  for (std::int64_t row = 0; row < batch_size_; ++row) {
    const std::int64_t image = image_at(turn * batch_size_ + row);
    set_.read(image, inputs.subspan(static_cast<std::size_t>(row * count),
                                    static_cast<std::size_t>(count)));
    targets[static_cast<std::size_t>(row)] = set_.label(image);
  }
}

ImageEvalBatches::ImageEvalBatches(const ImageSet& set, std::int64_t batch_size,
                                   std::int64_t max_batches)
    : set_(set), batch_size_(batch_size) {
  const std::int64_t all = (set.size() + batch_size - 1) / batch_size;
  num_batches_ = max_batches > 0 ? std::min(max_batches, all) : all;
}

std::int64_t ImageEvalBatches::rows(std::int64_t batch) const {
  return std::min(batch_size_, set_.size() - batch * batch_size_);
}

void ImageEvalBatches::fill(std::int64_t batch, std::span<float> inputs,
                            std::span<std::int32_t> targets) const {
  GHOST_CHECK(batch >= 0 && batch < num_batches_, "evaluation batch {} asked for; there are {}",
              batch, num_batches_);
  const auto count = static_cast<std::size_t>(set_.images().pixels_per_image());
  for (std::int64_t row = 0; row < rows(batch); ++row) {
    const std::int64_t image = batch * batch_size_ + row;
    set_.read(image, inputs.subspan(static_cast<std::size_t>(row) * count, count));
    targets[static_cast<std::size_t>(row)] = set_.label(image);
  }
}

}  // namespace ghost
